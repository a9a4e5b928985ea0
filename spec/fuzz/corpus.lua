--- brood exec spec/fuzz/corpus.lua DIR: writes the shapes of spec/support/http_shapes.lua into DIR, one a file, for
--- the fuzzer to start from.
local dir = assert(arg[1], "corpus.lua DIR")
package.path = arg[0]:match("^(.*)spec/fuzz/corpus.lua$") .. "?.lua;" .. package.path

for i, shape in ipairs(require("spec.support.http_shapes").list) do
  local file = assert(io.open(("%s/%03d"):format(dir, i), "w"))
  file:write(shape[2])
  file:close()
end
