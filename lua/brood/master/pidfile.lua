--- The pidfile of a master over reloads and upgrades. It stays the file that it is, in the folder where it was made,
--- wherever a symlink on the way to it leads by now; what its path leads to is looked at whenever a config is
--- read, and an upgrade puts it aside under another name. Who holds it is core.pidfile's business.
local core = require "brood.core"
local E = require "brood.error"
local files = require "brood.files"
local log = require "brood.log"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

local ASIDE = ".oldbin"
local TRIES, WAIT = 20, 0.05

-- As the config has it, where that leads to it; else where it really is.
local function shown(holder, path)
  return holder:is_at(path) and path or holder:path() or path
end

-- ---- a reload -------------------------------------------------------------------------------------------------------

-- While a new master is there, the path is that one's.
local function is_left_alone(master, path)
  return master.successor ~= nil and path == master.config.pidfile
end

--- Prepare for a path that a config asks for, though it may be the former one: a new file, where what is there is not
--- ours, or nothing is. The former one goes when the new config comes into force.
---@param master brood.Master
---@param path? string
---@return { commit: fun(), cancel: fun() }? plan, brood.Error? err
function M.change(master, path)
  local former, holder, err = master.pid_holder
  if is_left_alone(master, path) then
    return { commit = function() end, cancel = function() end }
  elseif path and former and former:is_at(path) then
    holder = former
  elseif path then
    holder, err = core.pidfile.open(path)
    if not holder then
      return nil, err
    end
  end
  return {
    commit = function()
      if former and former ~= holder then
        former:close()
      end
      master.pid_holder, master.pidfile = holder, path
    end,
    cancel = function()
      if holder and holder ~= former then
        holder:close()
      end
    end,
  }
end

-- ---- an upgrade -----------------------------------------------------------------------------------------------------

---@class brood.PidfileAside
---@field holder userdata
---@field name string what it was called
---@field path string where that was, as the config has it

--- Make room for the pidfile of a new master.
---@param master brood.Master
---@return brood.PidfileAside|false|nil aside false: there is none to put aside
---@return brood.Error? err
function M.aside(master)
  local holder, path = master.pid_holder, master.pidfile
  if not holder then
    return false
  end
  local name = (holder:path() or path):match "[^/]*$"
  local ok, err = holder:rename(name .. ASIDE)
  if ok then
    master.pidfile = shown(holder, path .. ASIDE)
    return { holder = holder, name = name, path = path }
  elseif err.code == "ESTALE" then
    log.warn(("pidfile %s: somebody has removed or replaced it"):format(path))
    return false
  end
  return nil, err
end

-- Remove one that nobody holds: what a killed master has left would be taken for that of a live one. Returns whether
-- somebody does hold it.
local function clear(path)
  if not uv.fs_lstat(path) then
    return false
  end
  local stale, err = core.pidfile.open(path)
  if stale then
    stale:close()
  end
  return stale == nil and err.code == "EEXIST"
end

local function remove_stale(path, pid)
  local stat = uv.fs_lstat(path)
  if stat and stat.type == "file" and files.read(path) == pid .. "\n" then
    clear(path)
  end
end

-- Its last word to us may come before the system has let go of all that it held.
local function clear_soon(path, tries)
  if clear(path) and tries > 1 then
    timer.after(WAIT, function()
      clear_soon(path, tries - 1)
    end):unref()
  end
end

--- The new master is gone: all as it was.
---@param master brood.Master
---@param aside brood.PidfileAside|false|nil
---@param pid? integer the new master's
function M.back(master, aside, pid)
  if aside and aside.holder == master.pid_holder then
    local ok, err = aside.holder:rename(aside.name)
    if ok then
      master.pidfile = shown(aside.holder, aside.path)
    else
      log.error(E.text(err))
    end
  end
  local path = master.config.pidfile
  if path and pid and not (master.pid_holder and master.pid_holder:is_at(path)) then
    remove_stale(path, pid)
  end
end


--- Where the pidfile is that was put aside; without one, nil.
---@param aside brood.PidfileAside|false|nil
---@return string?
function M.aside_path(aside)
  return aside and aside.holder:path() or nil
end

--- The old master is gone: what it put aside does not stay, though it was killed.
---@param master brood.Master
---@param told? string where that was
function M.old_is_gone(master, told)
  local path = told or master.pidfile and master.pidfile .. ASIDE
  if path then
    clear_soon(path, TRIES)
  end
end

return M
