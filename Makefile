# brood's build. `make` builds ./brood, `make help` lists the rest. Needs only make to begin with: `make deps`
# (run, test and lint do it by themselves) brings the compiler and the libraries.
#
#   CC=clang  BUILD=dir  BIN=path  CFLAGS="-O0 -g"  PREFIX=/usr/local  DESTDIR=  T=name

BUILD  ?= build
BIN    ?= brood
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g
V      ?= 0
.DEFAULT_GOAL := all

# ---- the libraries: static where the distribution ships the archive --------------------------------------------------
# All of these are evaluated only where they are used, so that `make deps` works before pkg-config exists.

once     = $(eval $1 := $2)$($1)
pkg      = $(shell pkg-config $1 2>/dev/null)
archive  = $(or $(firstword $(wildcard $(LIBDIR)/$1 /usr/lib/$1 /usr/local/lib/$1)),$2)

LIBDIR   = $(call once,LIBDIR,$(call pkg,--variable=libdir libuv))
LUA_H    = $(call once,LUA_H,$(call pkg,--cflags luajit))
LUAJIT   = $(call once,LUAJIT,$(call archive,libluajit-5.1.a,$(call pkg,--libs luajit)))
MODULE_H = $(call once,MODULE_H,$(patsubst %/luv/luv.h,-isystem %,$(firstword $(wildcard /usr/local/include/lua5.1/luv/luv.h /usr/include/lua5.1/luv/luv.h))))
ARGPARSE = $(call once,ARGPARSE,$(firstword $(wildcard /usr/share/lua/5.1/argparse.lua /usr/local/share/lua/5.1/argparse.lua)))

LLHTTP_C = $(if $(call pkg,--modversion libllhttp),,$(wildcard /usr/share/llhttp/*.c))
LLHTTP_H = $(if $(LLHTTP_C),-isystem /usr/share/include/llhttp,$(call pkg,--cflags libllhttp))
LLHTTP   = $(if $(LLHTTP_C),,$(or $(wildcard $(LIBDIR)/libllhttp.a),$(call pkg,--libs libllhttp)))

# LuaJIT goes in whole: C modules may use any function of the Lua API, not only those that brood itself calls.
LIBS = -Wl,--whole-archive $(LUAJIT) -Wl,--no-whole-archive \
       $(call archive,liblua5.1-luv.a,-llua5.1-luv) $(call archive,liblua5.1-cjson.a,-llua5.1-cjson) \
       $(call archive,libuv_a.a,-luv) $(LLHTTP) -lm -ldl -lpthread

# ---- flags -----------------------------------------------------------------------------------------------------------

WARNINGS = -Wall -Wextra -Werror
SANITIZE =
BASE     = -std=gnu11 $(CFLAGS) -funwind-tables -D_GNU_SOURCE $(SANITIZE)
INCLUDES = -Icore $(LUA_H) $(MODULE_H) $(LLHTTP_H)
# Sanitizers must see LuaJIT unwind the stack, which they do by taking libgcc's place: not where it is static.
LINK     = $(CFLAGS) $(SANITIZE) $(if $(SANITIZE),-shared-libgcc,-static-libgcc) -Wl,-E -Wl,-z,now -Wl,--as-needed $(LDFLAGS)

# ---- what is built from what -----------------------------------------------------------------------------------------

SOURCES := $(wildcard core/*.c core/sys/*.c core/loop/*.c core/bind/*.c)
HEADERS := $(wildcard core/*.h core/sys/*.h core/loop/*.h core/bind/*.h)
LUA     := $(sort $(shell find lua -name '*.lua' 2>/dev/null))
OBJECTS  = $(SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/embedded.o $(patsubst %.c,$(BUILD)/llhttp/%.o,$(notdir $(LLHTTP_C)))
SHIM     = $(BUILD)/faults.so
FUZZ     = $(BUILD)/fuzz-http

ifeq ($(V),0)
say = @printf '  %-6s %s\n' $1 '$2';
endif

.PHONY: all help deps run test asan fuzz lint fmt bench install uninstall clean FORCE
.DELETE_ON_ERROR:
.SUFFIXES:

all: $(BIN) $(SHIM) $(FUZZ)  ## build ./brood (the default)

# A stamp changes only when its text does: other flags or libraries, a removed source or Lua file rebuild what they touch.
stamp = @mkdir -p $(@D); printf '%s\n' '$1' | cmp -s - $@ || printf '%s\n' '$1' > $@
$(BUILD)/flags: FORCE
	$(call stamp,$(CC) $(BASE) $(WARNINGS) $(INCLUDES) $(shell stat -c '%n %s %Y' $(filter %.a,$(LIBS))))
$(BUILD)/objects: FORCE
	$(call stamp,$(OBJECTS) $(LINK) $(LIBS))
$(BUILD)/modules: FORCE
	$(call stamp,$(LUA) $(ARGPARSE))
FORCE:

$(BIN): $(OBJECTS) $(BUILD)/objects
	$(if $(LUA_H),,$(error libraries are missing: run `make deps`))
	$(call say,LINK,$@)$(CC) $(LINK) -o $@ $(OBJECTS) $(LIBS)

$(BUILD)/core/%.o: core/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(BASE) $(WARNINGS) $(INCLUDES) -MMD -MP -c -o $@ $<

# llhttp is somebody else's code: strict, and free to warn.
$(BUILD)/llhttp/%.o: /usr/share/llhttp/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(BASE) -w -DLLHTTP_STRICT_MODE=1 $(LLHTTP_H) -c -o $@ $<

# The embedder runs while building: never sanitized, linked with the LuaJIT that will load its bytecode.
$(BUILD)/embed: core/tools/embed.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) -std=gnu11 $(CFLAGS) -D_GNU_SOURCE $(WARNINGS) $(LUA_H) -o $@ $< $(LUAJIT) -static-libgcc -lm -ldl

$(BUILD)/embedded.c: $(BUILD)/embed $(LUA) $(BUILD)/modules
	$(if $(ARGPARSE),,$(error argparse.lua is missing: run `make deps`))
	$(call say,EMBED,$(words $(LUA)) modules)$(BUILD)/embed $@ $(LUA) $(ARGPARSE)

$(BUILD)/embedded.o: $(BUILD)/embedded.c
	$(call say,CC,$<)$(CC) $(BASE) -c -o $@ $<

$(SHIM): $(wildcard spec/faults/*.c spec/faults/*.h) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu11 -O1 -g -D_GNU_SOURCE $(WARNINGS) -fPIC -shared -o $@ $(filter %.c,$^) -ldl

# The HTTP server without Lua, fed from a socket pair. FUZZER=-fsanitize=fuzzer makes it libFuzzer's.
FUZZER =
$(FUZZ): spec/fuzz/http_input.c $(if $(FUZZER),,spec/fuzz/driver.c) $(filter $(BUILD)/core/sys/% $(BUILD)/core/loop/% $(BUILD)/llhttp/%,$(OBJECTS))
	$(call say,LINK,$@)$(CC) $(BASE) $(WARNINGS) $(INCLUDES) $(FUZZER) -o $@ $^ \
	$(call archive,libuv_a.a,-luv) $(LLHTTP) $(LDFLAGS) -lm -ldl -lpthread

-include $(wildcard $(BUILD)/core/*.d $(BUILD)/core/*/*.d)

# ---- everyday targets ------------------------------------------------------------------------------------------------
# What needs the libraries asks for them first and builds in a second make, which then sees them.
build = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc)) all

help:  ## this list
	@sed -n 's/^\([a-z]*\):[^#]*##[[:space:]]*\(.*\)/  make \1\t\2/p' Makefile | expand -t 20

deps:  ## install what is missing to build and test (Debian, Ubuntu)
	@sh .ci/deps build test

run: deps  ## build, then serve examples/hello on 127.0.0.1:8080, one worker per cpu
	@$(build)
	@exec $(abspath $(BIN)) run $(or $(wildcard examples/hello/brood.lua),-s examples/hello/app.lua -l 127.0.0.1:8080)

test: deps  ## build and run the specs; T=name picks those whose file or test name contains it
	@$(build)
	@BROOD_FAULTS=$(abspath $(SHIM)) BROOD_FUZZ=$(abspath $(FUZZ)) $(abspath $(BIN)) exec spec/run.lua $(if $(T),'$(T)')

# Leak detection is off: the runtime leaves by _exit, and LuaJIT's own allocator hides what Lua holds.
asan: deps  ## the same specs under AddressSanitizer and UBSan, in a build directory of their own
	@ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0:allocator_may_return_null=1 \
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 BROOD_SANITIZED=1 \
	$(MAKE) --no-print-directory test BUILD=$(BUILD)/asan BIN=$(BUILD)/asan/brood CFLAGS='-O1 -g -fno-omit-frame-pointer' \
	SANITIZE='-fsanitize=address,undefined $(if $(findstring clang,$(CC)),,-static-libasan -static-libubsan)'

# With libFuzzer where clang is there, else with the harness's own mutations.
SECONDS   = 60
SEED      = 1
comma    := ,
SANITIZER = -fno-sanitize-recover=all -fsanitize=address$(comma)undefined
LIBFUZZER = $(if $(shell command -v clang),CC=clang FUZZER=-fsanitize=fuzzer SANITIZE='$(SANITIZER)$(comma)fuzzer-no-link',SANITIZE='$(SANITIZER)')
fuzz: deps  ## feed the HTTP server mutated requests under ASan and UBSan; SECONDS=60 SEED=1
	@$(build)
	@mkdir -p $(BUILD)/fuzz/corpus && $(abspath $(BIN)) exec spec/fuzz/corpus.lua $(BUILD)/fuzz/corpus
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CFLAGS='-O1 -g' $(LIBFUZZER) $(BUILD)/fuzz/fuzz-http
	@$(BUILD)/fuzz/fuzz-http -max_total_time=$(SECONDS) -seed=$(SEED) -max_len=32768 -dict=spec/fuzz/http.dict \
		-artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/corpus

lint:  ## luacheck, clang-tidy, and the rules of the rooms
	@sh .ci/deps build test lint
	@$(build)
	@sh .ci/lint '$(LUA_H) $(MODULE_H) $(LLHTTP_H)'

fmt:  ## format the C sources
	@sh .ci/deps lint
	clang-format -i $(SOURCES) $(HEADERS) core/tools/*.c $(wildcard spec/faults/*.[ch])

bench: deps  ## measure beside nginx and C: http replace start memory spawn supervise messages jobs never_drops proxy on_demand; T=name picks one
	@sh .ci/deps bench
	@$(build)
	@$(abspath $(BIN)) exec spec/bench/run.lua $(if $(T),'$(T)')

install: $(BIN)  ## install brood, and its annotated Lua sources for editors, under PREFIX
	install -Dm755 $(BIN) $(DESTDIR)$(PREFIX)/bin/brood
	$(foreach file,$(LUA),install -Dm644 $(file) $(DESTDIR)$(PREFIX)/share/brood/$(file)$(newline))
	install -Dm644 LICENSE $(DESTDIR)$(PREFIX)/share/brood/LICENSE

uninstall:  ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/brood
	rm -rf $(DESTDIR)$(PREFIX)/share/brood

clean:  ## remove what was built
	rm -rf $(BUILD) $(BIN)

define newline


endef
