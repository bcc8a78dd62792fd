// 64-bit unsigned numbers are pairs [high, low] of 32-bit ones: not every browser's interpreter
// of this file has larger ones.

function times(a, b) {
  var x = [a[1] % 65536, Math.floor(a[1] / 65536), a[0] % 65536, Math.floor(a[0] / 65536)];
  var y = [b[1] % 65536, Math.floor(b[1] / 65536), b[0] % 65536, Math.floor(b[0] / 65536)];
  var digits = [], carry = 0;
  for (var place = 0; place < 4; place++) {
    for (var i = 0; i <= place; i++) carry += x[i] * y[place - i];
    digits[place] = carry % 65536;
    carry = Math.floor(carry / 65536);
  }
  return [digits[3] * 65536 + digits[2], digits[1] * 65536 + digits[0]];
}

function plus(a, b) {
  var low = a[1] + b[1];
  return [(a[0] + b[0] + Math.floor(low / 4294967296)) % 4294967296, low % 4294967296];
}

function xor(a, b) {
  return [(a[0] ^ b[0]) >>> 0, (a[1] ^ b[1]) >>> 0];
}

// By less than 32.
function right(a, by) {
  return [a[0] >>> by, ((a[1] >>> by) | (a[0] << (32 - by))) >>> 0];
}

// The last step of SplitMix64.
function mix(input) {
  var mixed = plus(input, [0x9e3779b9, 0x7f4a7c15]);
  mixed = times(xor(mixed, right(mixed, 30)), [0xbf58476d, 0x1ce4e5b9]);
  mixed = times(xor(mixed, right(mixed, 27)), [0x94d049bb, 0x133111eb]);
  return xor(mixed, right(mixed, 31));
}

// FNV-1a, mixed.
function hash(octets) {
  var hashed = [0xcbf29ce4, 0x84222325];
  for (var i = 0; i < octets.length; i++) {
    hashed = times([hashed[0], (hashed[1] ^ octets[i]) >>> 0], [0x100, 0x1b3]);
  }
  return mix(hashed);
}

function octets(text) {
  var all = [];
  for (var i = 0; i < text.length; i++) all.push(text.charCodeAt(i) & 255);
  return all;
}

function before(a, b) {
  return a[0] - b[0] || a[1] - b[1];
}

// Each node at many points; an object belongs to the node at the next one.
function makeRing() {
  var points = [];
  for (var node = 0; node < NODES.length; node++) {
    var name = hash(octets(NODES[node][0]));
    for (var number = 0; number < NODES[node][2]; number++) {
      var at = mix(xor(name, mix([0, number])));
      points.push([at[0], at[1], node]);
    }
  }
  points.sort(function (a, b) { return before(a, b) || a[2] - b[2]; });
  return points;
}

var ring = null;

// The first nodes for a key, as proxies.
function owners(key) {
  if (ring === null) ring = makeRing();
  var low = 0, high = ring.length;
  while (low < high) {
    var middle = Math.floor((low + high) / 2);
    if (before(ring[middle], key) < 0) low = middle + 1; else high = middle;
  }
  var chosen = [], seen = {};
  for (var i = 0; i < ring.length && chosen.length < COUNT; i++) {
    var node = ring[(low + i) % ring.length][2];
    if (!seen[node]) {
      seen[node] = true;
      chosen.push("PROXY " + NODES[node][1]);
    }
  }
  return chosen;
}

// The octets of an address; null: it is a name.
function address(host) {
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) {
    var parts = host.split("."), v4 = [];
    for (var i = 0; i < 4; i++) v4.push(parseInt(parts[i], 10));
    return v4;
  }
  if (host.indexOf(":") < 0) return null;
  var tail = host.match(/^(.*:)(\d+\.\d+\.\d+\.\d+)$/), last = [];
  if (tail) {
    last = address(tail[2]);
    host = tail[1] + "0:0";
  }
  var halves = host.split("::"), v6 = [];
  function words(text) {
    var out = [], pieces = text === "" ? [] : text.split(":");
    for (var i = 0; i < pieces.length; i++) {
      var word = parseInt(pieces[i], 16) || 0;
      out.push((word >> 8) & 255, word & 255);
    }
    return out;
  }
  var head = words(halves[0]), rest = halves.length > 1 ? words(halves[1]) : [];
  v6 = head;
  while (v6.length + rest.length < 16) v6.push(0);
  v6 = v6.concat(rest);
  for (var j = 0; j < last.length; j++) v6[12 + j] = last[j];
  return v6;
}

function isIn(octets, network) {
  if (octets.length !== network[0].length) return false;
  for (var bit = 0; bit < network[1]; bit += 8) {
    var left = network[1] - bit, mask = left >= 8 ? 255 : (255 << (8 - left)) & 255;
    if ((octets[bit / 8] ^ network[0][bit / 8]) & mask) return false;
  }
  return true;
}

function goesPast(host, octets) {
  var i;
  if (octets) {
    for (i = 0; i < NETWORKS.length; i++) if (isIn(octets, NETWORKS[i])) return true;
  } else if (LOCAL_NAMES && host.indexOf(".") < 0) {
    return true;
  }
  for (i = 0; i < DOMAINS.length; i++) {
    var name = DOMAINS[i][0], end = "." + name, start = host.length - end.length;
    if (host === name && !DOMAINS[i][2]) return true;
    if (DOMAINS[i][1] && start >= 0 && host.substring(start) === end) return true;
  }
  return false;
}

// What is hashed of a request. Of a tunnel that is its host and port, and no more is known of it.
function keyOf(url, host, octetsOfHost) {
  var whose = octetsOfHost || octets(host);
  if (!BY_URL) return hash(whose);
  var parts = url.match(
    /^([a-z]+):\/\/(?:[^\/?#@]*@)?(?:\[[^\]]*\]|[^\/?#:]*)(?::(\d*))?([^#]*)/i
  );
  if (!parts) return hash(whose);
  var scheme = parts[1].toLowerCase(), plain = scheme === "http", path = plain ? parts[3] : "";
  var usual = plain || scheme === "ws" ? 80 : 443, port = parseInt(parts[2] || usual, 10);
  if (!plain || port !== usual) whose = whose.concat([(port >> 8) & 255, port & 255]);
  if (path.charAt(0) !== "/") path = "/" + path;
  return hash(whose.concat(octets(path)));
}

function FindProxyForURL(url, host) {
  host = host.toLowerCase().replace(/^\[|\]$/g, "").replace(/\.$/, "");
  var octetsOfHost = address(host);
  if (goesPast(host, octetsOfHost)) return "DIRECT";
  var proxies = COUNT > 0 ? owners(keyOf(url, host, octetsOfHost)) : [];
  return proxies.concat(OTHERS).join("; ");
}
