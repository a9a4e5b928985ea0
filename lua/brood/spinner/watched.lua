--- One path that is monitored: which directories to watch for it, and whether what happens in them is a change of it.
---
--- A file is watched through its folder, because editors put a new one in its place; so is a directory, and every
--- folder below it. Where symlinks lead to it they are watched as well, and where it is missing, the nearest folder
--- above it that is there. When to tell of a change is decided by brood.spinner.monitor.
local directories = require "brood.spinner.directories"
local listed = require "brood.folder"
local uv = require "luv"

local M = {}

---@class brood.WatchedPath
---@field path string absolute, as it was given
---@field err brood.Error? it cannot be watched like this
---@field private pins table<string, { names: table<string, boolean>, watch: brood.DirectoryWatch }>
---@field private folders table<string, brood.DirectoryWatch> of the tree
local Watched = {}
Watched.__index = Watched

local function split(path)
  local folder, name = path:match("^(.*)/([^/]+)$")
  return folder == "" and "/" or folder or "/", name
end

local function join(folder, name)
  return folder == "/" and "/" .. name or folder .. "/" .. name
end

local function signature(path)
  local stat = uv.fs_stat(path)
  return stat and ("%d:%d:%d:%d.%d"):format(stat.dev, stat.ino, stat.size, stat.mtime.sec, stat.mtime.nsec)
end

-- Without permission a folder below is left out; anything else makes watching as a whole fail.
local function begin_watch(self, folder, fn)
  local watch, err = directories.watch(folder, fn)
  if not watch and (err.code == "ENOSPC" or err.code == "EMFILE" or err.code == "ENFILE" or err.code == "ENOMEM") then
    self.err = self.err or err
  end
  return watch
end

-- ---- the tree below a directory -------------------------------------------------------------------------------------

local function leave_folder(self, folder)
  local below = folder .. "/"
  for path, watch in pairs(self.folders) do
    if path == folder or path:sub(1, #below) == below then
      watch:close()
      self.folders[path] = nil
    end
  end
end

local enter_folder

local function in_tree(self, folder, what, name, is_directory)
  if what == "lost" or (what == "gone" and folder == self.path) then
    return self:attach(true)
  elseif what == "gone" then
    return leave_folder(self, folder)
  end
  local path = join(folder, name)
  if self.ignored(path:sub(#self.path + 2)) then
    return
  end
  if is_directory and what ~= "changed" then
    leave_folder(self, path)
    if what == "appeared" then
      enter_folder(self, path)
    end
  end
  self.changed(path)
end

-- The watch first: what is made in it afterwards is heard of, what was there before is found.
function enter_folder(self, folder)
  local watch = begin_watch(self, folder, function(...)
    in_tree(self, folder, ...)
  end)
  if not watch then
    return
  end
  self.folders[folder] = watch
  for _, entry in ipairs(listed.entries(folder)) do
    if self.err then
      return
    end
    local path = join(folder, entry.name)
    local kind = entry.type ~= "unknown" and entry.type or (uv.fs_lstat(path) or {}).type
    if kind == "directory" and not self.folders[path] and not self.ignored(path:sub(#self.path + 2)) then
      enter_folder(self, path)
    end
  end
end

-- ---- the names that lead to it --------------------------------------------------------------------------------------

-- `own` names the path itself, or what it is a symlink to: whatever happens to that is a change.
local function at_pin(self, names, what, name)
  local own = names[name]
  if own == nil and what ~= "gone" and what ~= "lost" then
    return
  end
  if what ~= "changed" then
    self:attach(true)
  end
  if own then
    self.changed(self.path)
  end
end

local function pin(self, path, own)
  local folder, name = split(path)
  if not name then
    return
  end
  local there = self.pins[folder]
  if there then
    there.names[name] = own or there.names[name] or false
    return
  end
  local names = { [name] = own }
  local watch = begin_watch(self, folder, function(what, event_name)
    at_pin(self, names, what, event_name)
  end)
  if watch then
    self.pins[folder] = { names = names, watch = watch }
  end
end

-- Every symlink on the way, because it may be pointed elsewhere; and the first name that is missing.
local function pin_the_way(self)
  local at = ""
  for name in self.path:gmatch("[^/]+") do
    at = at .. "/" .. name
    local stat = uv.fs_lstat(at)
    if at == self.path or not stat or stat.type == "link" then
      pin(self, at, at == self.path)
    end
    if not stat then
      return
    end
  end
  -- What it leads to may be written in place, far from the symlink.
  local real = uv.fs_realpath(self.path)
  if real and real ~= self.path then
    pin(self, real, true)
  end
end

local function detach(self)
  for _, there in pairs(self.pins) do
    there.watch:close()
  end
  for _, watch in pairs(self.folders) do
    watch:close()
  end
  self.pins, self.folders = {}, {}
end

--- Watch what is there now. With `again` it is a change where something else is there than before.
---@param again? boolean
function Watched:attach(again)
  detach(self)
  pin_the_way(self)
  local stat = uv.fs_stat(self.path)
  if stat and stat.type == "directory" then
    enter_folder(self, self.path)
  end
  local now = signature(self.path)
  if again and now and now ~= self.seen then
    self.changed(self.path)
  end
  self.seen = now
  if self.err then
    detach(self)
    self.failed(self.err)
  end
end

--- Whether the folder is there that the path is in.
---@param path string
---@return boolean
function M.has_folder(path)
  return uv.fs_stat((split(path))) ~= nil
end

--- Whether it is there: a change of what is gone can wait until it is back.
---@return boolean
function Watched:exists()
  return uv.fs_stat(self.path) ~= nil
end

function Watched:close()
  detach(self)
end

--- What is there, for one who looks now and then: each file's path and what changes with it.
---@return table<string, string>
function Watched:look()
  local found = {}
  local function look_at(path)
    found[path] = signature(path)
    local stat = uv.fs_lstat(path)
    if stat and (stat.type == "directory" or path == self.path) then
      for _, entry in ipairs(listed.entries(path)) do
        local below = join(path, entry.name)
        if not self.ignored(below:sub(#self.path + 2)) then
          look_at(below)
        end
      end
    end
  end
  look_at(self.path)
  return found
end

--- A path to watch; `attach` begins it.
---@param path string absolute
---@param ignored fun(path: string): boolean of a path below it
---@param changed fun(path: string)
---@param failed fun(err: brood.Error) it cannot be watched like this, or not any more
---@return brood.WatchedPath
function M.new(path, ignored, changed, failed)
  return setmetatable({
    path = path, ignored = ignored, changed = changed, failed = failed, pins = {}, folders = {},
  }, Watched)
end

return M
