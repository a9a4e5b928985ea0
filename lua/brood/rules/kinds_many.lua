--- The kinds of values with parts: lists, argument lists, maps, environments, limits,
--- records. Each is a function (spec, value, path, report) -> ok, normalised, which
--- reports every mistake it finds, with the path of the part.
local duration = require "brood.rules.duration"
local nearest = require "brood.rules.nearest"
local show = require "brood.rules.show"

--- Add these kinds to the table of kinds; M is `brood.rules.kinds`, whose `check` and `wrong` they use.
---@param M table
return function(M)
  local kinds, wrong, join, sorted_keys = M.kinds, M.wrong, M.join, M.sorted_keys

  local function odd_key(spec, value, path, report, key)
    return wrong(spec, value, path, report, ("it has the key %s"):format(show(key)))
  end

  kinds.list = {
    expected = function(spec)
      return (spec.single and "%s or a list of them" or "a list, each element %s"):format(M.expected(spec.of))
    end,
    many = function(spec, value, path, report)
      -- A table that is one element by itself has names, a list has numbers.
      if spec.single and (type(value) ~= "table" or value[1] == nil and next(value) ~= nil) then
        local ok, normal = M.check(spec.of, value, path, report)
        return ok, { normal }
      elseif type(value) ~= "table" then
        return wrong(spec, value, path, report)
      end
      local result, all_ok = {}, true
      for index, key in ipairs(sorted_keys(value)) do
        if key ~= index then
          return odd_key(spec, value, path, report, key)
        end
        local ok, normal = M.check(spec.of, value[key], join(path, key), report)
        result[key], all_ok = normal, all_ok and ok
      end
      if spec.min and #value < spec.min then
        return wrong(spec, value, path, report)
      end
      return all_ok, result
    end,
  }

  kinds.argv = {
    expected = 'a list of a program and its arguments (like {"sleep", "5"})',
    many = function(spec, value, path, report)
      if type(value) ~= "table" or value[1] == nil then
        return wrong(spec, value, path, report)
      end
      local result, count = {}, 0
      for _ in pairs(value) do
        count = count + 1
      end
      -- Nothing but a list is in order already.
      for index, key in ipairs(count == #value and value or sorted_keys(value)) do
        key = count == #value and index or key
        local word = value[key]
        if type(word) == "number" then
          word = show(word)
        end
        if key ~= index then
          return odd_key(spec, value, path, report, key)
        elseif type(word) ~= "string" or word:find("%z") or key == 1 and word == "" then
          return wrong({ type = key == 1 and "name" or "string" }, value[key], join(path, key), report)
        end
        result[key] = word
      end
      return true, result
    end,
  }

  -- A table whose keys are names: one(key, value, where) -> ok, normalised for each.
  local function each_name(spec, value, path, report, one)
    if type(value) ~= "table" then
      return wrong(spec, value, path, report)
    end
    local result, all_ok = {}, true
    local meta = debug.getmetatable(value)
    if meta and rawget(meta, "__index") ~= nil and next(value) == nil then
      return wrong(spec, value, path, report, "it has nothing but what its metatable gives, which is not looked at")
    end
    for _, key in ipairs(sorted_keys(value)) do
      if type(key) ~= "string" or key == "" then
        local why = type(key) == "number" and "each needs a name, and number %s has none" or "the key %s is no name"
        return wrong(spec, value, path, report, why:format(show(key)))
      end
      local ok, normal = one(key, value[key], join(path, key))
      result[key], all_ok = normal, all_ok and ok
    end
    return all_ok, result
  end

  kinds.map = {
    expected = function(spec)
      return ("a table of names, each value %s"):format(M.expected(spec.of))
    end,
    many = function(spec, value, path, report)
      return each_name(spec, value, path, report, function(_, given, where)
        return M.check(spec.of, given, where, report)
      end)
    end,
  }

  kinds.env = {
    expected = "a table of environment variables, each value a string, or false to remove it",
    many = function(spec, value, path, report)
      return each_name(spec, value, path, report, function(name, given, where)
        if name:find("[=%z]") then
          local what = name:find("=", 1, true) and "'='" or "a zero byte"
          return wrong(spec, value, path, report, ("the name %s cannot contain %s"):format(show(name), what))
        elseif type(given) == "number" then
          return true, show(given)
        elseif given == false or type(given) == "string" and not given:find("%z") then
          return true, given
        end
        return wrong({ type = "string", off = true }, given, where, report)
      end)
    end,
  }

  local limit = {
    expected = 'a limit (a number, a size like "1g", "unlimited", or { soft =, hard = } of these)',
    names = {
      "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
      "rtprio", "rttime", "sigpending", "stack",
    },
    known = {},
  }
  for _, name in ipairs(limit.names) do
    limit.known[name] = true
  end

  local function limit_value(value)
    if value == "unlimited" then
      return value, math.huge
    end
    local n = duration.parse_size(value)
    return n, n
  end

  kinds.limits = {
    expected = "a table of resource limits (like { nofile = 65536 })",
    knows = function(name)
      return limit.known[name] == true
    end,
    many = function(spec, value, path, report)
      return each_name(spec, value, path, report, function(name, given, where)
        if not limit.known[name] then
          report { key = where, kind = "unknown", suggestion = nearest.find(name, limit.names) }
          return false
        end
        local pair = type(given) == "table" and given or { soft = given, hard = given }
        local soft, low = limit_value(pair.soft)
        local hard, high = limit_value(pair.hard)
        if not soft or not hard then
          return wrong(limit, given, where, report)
        elseif low > high then
          return wrong(limit, given, where, report, "the soft limit is above the hard one")
        end
        return true, { soft = soft, hard = hard }
      end)
    end,
  }

  kinds.record = {
    expected = function(spec)
      return ("a table of %s"):format(table.concat(sorted_keys(spec.fields), ", "))
    end,
    many = function(spec, value, path, report)
      if type(value) ~= "table" then
        return wrong(spec, value, path, report)
      end
      return M.record(spec.fields, value, path, report)
    end,
  }

  -- What was given, in full: which of the two is wrong is seen by that.
  local function wrong_ports(spec, value, path, report)
    local words = {}
    for i, one in ipairs(type(value) == "table" and value or {}) do
      words[i] = i <= 3 and show(one) or i == 4 and "..." or nil
    end
    if not words[1] then
      return wrong(spec, value, path, report)
    end
    local expected, got = M.expected(spec), ("{%s}"):format(table.concat(words, ", "))
    report { key = path, kind = "type", problem = ("must be %s, got %s"):format(expected, got), expected = expected,
      got = got }
    return false
  end

  kinds.ports = {
    expected = "two ports, the lower one first (like {7000, 7999})",
    many = function(spec, value, path, report)
      local port = { type = "port" }
      local function quiet() end
      if type(value) ~= "table" or value[3] ~= nil or not M.check(port, value[1], path, quiet)
        or not M.check(port, value[2], path, quiet) or value[1] > value[2] then
        return wrong_ports(spec, value, path, report)
      end
      return true, { value[1], value[2] }
    end,
  }
end
