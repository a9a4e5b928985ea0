--- Addresses and paths as text.
local address = require "brood.rules.address"
local lu = require "luaunit"
local path = require "brood.rules.path"

local T = {}

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
