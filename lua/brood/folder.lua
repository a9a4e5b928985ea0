--- What is in a folder. Not by uv.fs_scandir: luv keeps each of its requests for ever, and those that fail too. It
--- reads names, and opens or follows none of them.
local uv = require "luv"

local M = {}

local BATCH = 64 -- entries that are read at once

---@class brood.FolderEntry
---@field name string
---@field type string "file" "directory" "link" ...; "unknown" where the file system does not say

--- Its entries, in no order; those without a name of their own, "." and "..", are not among them.
---@param path string
---@return brood.FolderEntry[] entries none where it cannot be read
---@return string? why it cannot
function M.entries(path)
  local open, why = uv.fs_opendir(path, nil, BATCH)
  local all = {}
  if not open then
    return all, why
  end
  local batch
  repeat
    batch, why = open:readdir()
    for _, entry in ipairs(batch or {}) do
      all[#all + 1] = entry
    end
  until not batch
  open:closedir()
  return all, why
end

return M
