"""Drives the runtime socket with haproxyadmin, as scripts written for HAProxy do."""

import sys

import haproxyadmin
from haproxyadmin import haproxy

socket_file, backend_name, server_name = sys.argv[1:]
hap = haproxy.HAProxy(socket_file=socket_file, timeout=5)
assert hap.version and hap.processids and int(hap.uptimesec) >= 0, hap.version
assert [it.name for it in hap.backends()] == [backend_name], hap.backends()
frontend = hap.frontends()[0]
assert frontend.status == "OPEN" and frontend.requests >= 0, frontend.status

server = hap.server(server_name, backend=backend_name)[0]
assert server.status.startswith("UP") and server.port and server.address, server.status
assert server.setstate(haproxyadmin.STATE_DISABLE) and server.status == "MAINT", server.status
assert server.setstate(haproxyadmin.STATE_ENABLE) and server.status.startswith("UP"), server.status
assert server.setstate(haproxyadmin.STATE_DRAIN) and server.status.startswith("DRAIN"), server.status
assert server.setstate(haproxyadmin.STATE_READY) and server.status.startswith("UP"), server.status
initial = int(server.weight)
assert server.setweight(200) and int(server.weight) == 200, server.weight
assert server.setweight("50%") and int(server.weight) == initial * 50 // 100, server.weight
assert server.setweight("100%") and int(server.weight) == initial, server.weight
assert server.shutdown()
assert int(server.metric("chkfail")) >= 0 and server.requests >= 0
assert hap.command("show version")[0][1][0] == hap.version, hap.command("show version")
try:
    hap.frontends()[0].disable()
except Exception as error:  # what the socket says is no success to the library
    assert "not here" in str(error), error
else:
    raise AssertionError("a frontend was disabled")
print("ok", server.name)
