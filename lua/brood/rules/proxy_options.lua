--- What the `proxy` of a config can be told: every key with its kind, default, documentation and example. Nothing here
--- checks anything; what a route means, and whom it may lead to, is rules.proxy's.

---@class brood.ProxyOptions
---@field listen brood.ListenEntry[]
---@field routes table<string, string|integer>
---@field workers? integer
---@field timeout number|false
---@field connect_timeout number
---@field max_waiting integer|false
---@field max_body integer|false

--- Every key, in the order of the reference.
---@param listen_entry brood.Spec an element of `listen`
---@param listen_fields table<string, brood.Spec>
---@return brood.Key[]
return function(listen_entry, listen_fields)
  return {
    {
      name = "listen", type = "list", single = true, min = 1, of = listen_entry, required = true,
      fields = listen_fields, doc = "where the proxy accepts connections, as `listen` of the config", example = "8080",
    },
    {
      name = "routes", type = "map", required = true,
      of = {
        any_of = { { type = "name" }, { type = "port" } },
        expected = 'the name of a service, backend or cluster, "host:port" or "unix:/path"',
      },
      doc = 'where requests go: from "host", "*.suffix", "/path" (whole segments) or "host/path" to the name of a '
        .. 'service, backend or cluster, to "host:port" or "unix:/path"; host before path, longest first, the path '
        .. "kept; 404 where none leads",
      example = '{ ["api.localhost"] = "api", ["/static"] = "files" }',
    },
    {
      name = "workers", type = "integer", min = 1, max = 65535, default_doc = "as the top level",
      doc = "how many processes carry requests to and fro", example = "2",
    },
    {
      name = "timeout", type = "duration", off = true, min = 0.001, default = 60,
      doc = "how long a target may be silent before and within an answer: then 504", example = '"5m"',
    },
    {
      name = "connect_timeout", type = "duration", min = 0.001, default = 5,
      doc = "how long a target may take to accept a connection: then 504", example = '"1s"',
    },
    {
      name = "max_waiting", type = "integer", min = 0, off = true, default = 1000,
      doc = "how many requests may wait for one target, for its start or for their turn: 503 beyond it",
      example = "100",
    },
    {
      name = "max_body", type = "size", off = true, default = false,
      doc = "the largest body of a request: 413 beyond it", example = '"100m"',
    },
  }
end
