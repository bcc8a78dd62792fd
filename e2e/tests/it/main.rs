//! Real processes, seen as operators and clients see them. One program with a module for each
//! subject, so that what they share is linked once; `./test e2e NAME` runs one module.

mod alarms;
mod architecture;
mod backup;
mod clients;
mod compose;
mod configuration;
mod console;
mod control_plane;
mod differential;
mod disk_cache;
mod doctor;
mod documented;
mod exhaustion;
mod haproxy_logs;
mod http2;
mod kubernetes;
mod lab;
mod logs_and_audit;
mod metrics;
mod node_faults;
mod operations;
mod origins;
mod pac;
mod packaging;
mod reference;
mod reliability;
mod rolling;
mod runtime_socket;
mod systemd;
mod take_over;
mod telemetry;
mod terminal;
mod time;
mod unix_sockets;
mod virtual_address;
