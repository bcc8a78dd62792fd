mod files;
mod log;
mod tier;
