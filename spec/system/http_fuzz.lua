--- A short round of spec/fuzz, the same each time; `make fuzz` is the long one.
local lu = require "luaunit"
local s = require "spec.support"

-- Built beside the shim; make says where.
local function harness()
  local shim = os.getenv "BROOD_FAULTS"
  return os.getenv "BROOD_FUZZ" or shim and (shim:gsub("[^/]+$", "fuzz-http")) or s.root .. "/build/fuzz-http"
end

return {
  ["requests, odd and mutated, are answered alike however they are split, and leave nothing behind"] = function()
    local corpus = s.temp_dir()
    lu.assertEquals(s.brood({ "exec", s.root .. "/spec/fuzz/corpus.lua", corpus }):finish().code, 0)
    local runs = s.slow > 1 and 500 or 3000
    local got = s.start({ harness(), "-runs=" .. runs, "-seed=1", corpus }):finish(40)
    lu.assertEquals(got.stderr, "")
    lu.assertEquals(got.code, 0)
    lu.assertStrContains(got.stdout, runs .. " mutations, seed 1: all is well")
  end,
}
