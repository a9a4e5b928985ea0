--- Addresses and paths as text.
local address = require "brood.rules.address"
local ffi = require "ffi"
local lu = require "luaunit"
local path = require "brood.rules.path"

ffi.cdef "int inet_pton(int, const char *, void *);"

local T = {}

local AF_INET6 = 10

-- Whether the system takes it for an IPv6 address.
local function is_ipv6(text)
  return ffi.C.inet_pton(AF_INET6, text, ffi.new("char[16]")) == 1
end

function T.test_a_bare_port_is_all_interfaces()
  for _, value in ipairs { 8080, "8080", ":8080", "*:8080" } do
    lu.assertEquals(address.normal(value), ":8080")
    lu.assertEquals(address.parse(value), { kind = "tcp", port = 8080 })
  end
end

function T.test_hosts_ipv6_unix_and_named_sockets_are_known()
  lu.assertEquals(address.parse "127.0.0.1:80", { kind = "tcp", host = "127.0.0.1", port = 80 })
  lu.assertEquals(address.parse "localhost:0", { kind = "tcp", host = "localhost", port = 0 })
  lu.assertEquals(address.parse "[::1]:80", { kind = "tcp", host = "::1", port = 80 })
  lu.assertEquals(address.parse "unix:run/a.sock", { kind = "unix", path = "run/a.sock" })
  lu.assertEquals(address.parse "/run/a.sock", { kind = "unix", path = "/run/a.sock" })
  lu.assertEquals(address.parse "fd:web", { kind = "fd", name = "web" })
end

function T.test_the_normal_form_is_its_own_normal_form()
  for _, value in ipairs { 80, "a.b:80", "[fe80::1%eth0]:80", "unix:/x", "./x", "fd:web" } do
    local once = address.normal(value)
    lu.assertEquals(address.normal(once), once)
  end
end

function T.test_an_ipv4_address_has_one_spelling()
  for _, host in ipairs {
    "127.000.0.1", "010.0.0.1", "1.2.3.04", "1.2.3", "256.1.1.1", "1.2.3.4.5", "1..2.3", "0000.0.0.0",
  } do
    local normal, why = address.normal(host .. ":80")
    lu.assertNil(normal, host)
    lu.assertEquals(why, ("'%s' is not an IPv4 address"):format(host))
  end
  lu.assertEquals(address.normal "0.0.0.0:80", "0.0.0.0:80")
  lu.assertEquals(address.normal "255.10.100.0:80", "255.10.100.0:80")
end

function T.test_each_ipv6_address_has_one_normal_form()
  for text, normal in pairs {
    ["::1"] = "::1", ["0:0:0:0:0:0:0:1"] = "::1", ["0000::0001"] = "::1", ["::"] = "::", ["0::0"] = "::",
    ["FE80::ABCD%eth0"] = "fe80::abcd%eth0", ["1:0:0:2:0:0:0:3"] = "1:0:0:2::3",
    ["1:0:0:2:3:0:0:4"] = "1::2:3:0:0:4", ["2001:db8:0:1:1:1:1:1"] = "2001:db8:0:1:1:1:1:1", ["1::"] = "1::",
    ["0:0:0:0:0:ffff:1.2.3.4"] = "::ffff:1.2.3.4", ["::ffff:102:304"] = "::ffff:1.2.3.4",
    ["64:ff9b::1.2.3.4"] = "64:ff9b::102:304", ["1:2:3:4:5:6:7::"] = "1:2:3:4:5:6:7:0",
    ["::2:3:4:5:6:7:8"] = "0:2:3:4:5:6:7:8",
  } do
    lu.assertEquals(address.normal(("[%s]:80"):format(text)), ("[%s]:80"):format(normal), text)
    lu.assertEquals(address.normal(("[%s]:80"):format(normal)), ("[%s]:80"):format(normal))
    lu.assertTrue(is_ipv6((text:gsub("%%.*", ""))))
  end
end

function T.test_what_the_system_takes_for_no_ipv6_address_is_refused()
  for _, text in ipairs {
    ":", ":::", "1", "1:2", "1::2::3", "1:2:3:4:5:6:7:8:9", "12345::", "::1.2.3", "::1.2.3.04", "1.2.3.4::", "::g",
    "::1%", "1:2:3:4:5:6:7", ":1::", "::1:", "1:2:3:4:5:6:7:1.2.3.4", "::1%a b", "1:2:3:4::5:6:7:8",
    "1.2.3.4", "::1.2.3.4:5",
  } do
    lu.assertNil((address.normal(("[%s]:80"):format(text))), text)
    lu.assertFalse(is_ipv6(text), text)
  end
end

function T.test_a_wrong_address_is_refused_with_its_reason()
  for value, reason in pairs {
    ["localhost"] = "the port is missing", ["::1:80"] = "[::1]:80", ["a:99999"] = "not a port", ["a:b"] = "not a port",
    ["unix:"] = "the path is missing", ["http://a:80"] = "URL", ["a b:80"] = "not a host", ["[a]:80"] = "",
    ["fd:"] = "fd:", [""] = "the port is missing", [":"] = "not a port", ["[::1]"] = "",
  } do
    local normal, why = address.normal(value)
    lu.assertNil(normal, value)
    lu.assertStrContains(why, reason)
  end
  for _, value in ipairs { -1, 65536, 1.5, 0 / 0, true, {} } do
    lu.assertNil((address.normal(value)))
  end
end

function T.test_paths_become_absolute_and_are_never_resolved()
  lu.assertEquals(path.absolute("/srv/current", "app.lua"), "/srv/current/app.lua")
  lu.assertEquals(path.absolute("/srv/current", "./app.lua"), "/srv/current/app.lua")
  lu.assertEquals(path.absolute("/srv/current", "../app.lua"), "/srv/current/../app.lua")
  lu.assertEquals(path.absolute("/srv/", "/app.lua"), "/app.lua")
  lu.assertEquals(path.absolute("/", "app.lua"), "/app.lua")
  lu.assertEquals(path.absolute("/srv", "."), "/srv")
  lu.assertEquals(path.absolute(nil, "app.lua"), "app.lua")
  lu.assertEquals({ path.directory "/a/b.lua", path.directory "/b.lua", path.directory "b.lua" }, { "/a", "/", "." })
end

return T
