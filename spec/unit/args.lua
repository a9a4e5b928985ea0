--- The command line: brood.cli.args, and brood.cli.args_run where it has options.
local args = require "brood.cli.args"
local help = require "brood.cli.help"
local lu = require "luaunit"

local T = {}

local function words(line)
  local argv = {}
  for word in line:gmatch("%S+") do
    argv[#argv + 1] = word
  end
  return argv
end

local function read(line)
  local parsed, message = args.read(words(line))
  lu.assertNil(message)
  return parsed
end

local function refused(line, expected)
  local parsed, message = args.read(words(line))
  lu.assertNil(parsed, line)
  lu.assertStrContains(message, "brood: " .. expected)
  lu.assertStrMatches(message, "brood: .*\nTry 'brood .*help.*'%.\n")
end

function T.test_without_words_the_default_config_is_run()
  lu.assertEquals(read "", { command = "run" })
  lu.assertEquals(read "run", { command = "run" })
end

function T.test_a_config_is_named_with_or_without_run_or_by_c()
  local expected = { command = "run", config = "x/conf.lua" }
  for _, line in ipairs { "FILE", "run FILE", "-c FILE", "run -c FILE", "-c FILE FILE" } do
    line = line:gsub("FILE", "x/conf.lua")
    lu.assertEquals(read(line), expected, line)
  end
  refused("-c a.lua b.lua", "two configs are named")
  refused("a.lua b.lua", "too many arguments: 'b.lua'")
end

function T.test_one_app_is_served_with_addresses_port_and_workers()
  lu.assertEquals(read "-s app.lua -l :80 -l unix:/x -p 8080 -w 3", {
    command = "run", app = "app.lua", listen = { ":80", "unix:/x" }, port = "8080", workers = 3,
  })
  lu.assertEquals(read "run -sapp.lua -p0", { command = "run", app = "app.lua", port = "0" })
end

function T.test_log_level_comes_from_q_v_or_its_own_option()
  lu.assertEquals(read("-q").log_level, "warn")
  lu.assertEquals(read("-v").log_level, "debug")
  lu.assertEquals(read("-v --log-level error").log_level, "error")
  lu.assertEquals(read("--log-format=json").log_format, "json")
  refused("-q -v", "option '-v' can not be used together with option '-q'")
  refused("--log-level loud", "argument for option '--log-level' must be one of")
  refused("--log-format xml", "argument for option '--log-format' must be one of")
end

function T.test_control_is_an_address_or_false()
  lu.assertEquals(read("--control unix:/c").control, "unix:/c")
  lu.assertEquals(read("-P run/x.pid").pidfile, "run/x.pid")
  lu.assertEquals(read("--control false").control, false)
  refused("--control nowhere", "option '--control' must be an address, got 'nowhere'")
end

function T.test_wrong_values_are_named_with_their_option()
  refused("-s a -w many", "option '-w' must be a number of workers (1 to 65535), got 'many'")
  refused("-s a -w 0", "option '-w' must be")
  refused("-s a -p 65536", "option '-p' must be a port (0 to 65535), got '65536'")
  refused("-s a -l localhost", "option '-l' must be an address, got 'localhost': the port is missing")
  refused("-s", "option '-s' requires an argument")
end

function T.test_an_unknown_option_is_refused_with_the_nearest_name()
  refused("--log-levl info", "unknown option '--log-levl' (did you mean '--log-level'?)")
  refused("--frobnicate", "unknown option '--frobnicate'")
end

function T.test_what_comes_later_is_refused_as_not_available_yet()
  for name in ("status reload restart scale start stop upgrade logs top eval"):gmatch("%l+") do
    refused(name, ("command '%s' is not available yet"):format(name))
    refused(name .. " --help", "command")
  end
  refused("-q status", "command 'status' is not available yet")
end

function T.test_a_command_of_a_later_version_is_refused_with_what_does_it_until_then()
  refused("stop", "command 'stop' is not available yet: send QUIT to the master, or POST /stop to its control socket")
  refused("help start", "command 'start' is not available yet: `brood run` starts a master")
  refused("version", "unknown command 'version', and there is no config of that name (did you mean '--version'?)")
end

function T.test_a_mistyped_part_of_a_key_is_refused_with_the_nearest_one()
  refused("help config listen.mod", "unknown key 'listen.mod' (did you mean 'listen.mode'?)")
  refused("help config listen.frobnicate", "unknown key 'listen.frobnicate'")
end

function T.test_check_takes_the_options_of_run()
  lu.assertEquals(read "check", { command = "check" })
  lu.assertEquals(read "check x.lua", { command = "check", config = "x.lua" })
  lu.assertEquals(read "check -s a.lua -w 2 -p 80", { command = "check", app = "a.lua", workers = 2, port = "80" })
  lu.assertEquals(read "-q check x.lua", { command = "check", config = "x.lua", log_level = "warn" })
  lu.assertEquals(read "check check", { command = "check", config = "check" })
  local _, message = args.read { "check", "-w", "x" }
  lu.assertStrContains(message, "Try 'brood check --help'.")
end

function T.test_init_takes_a_directory()
  lu.assertEquals(read "init", { command = "init" })
  lu.assertEquals(read "init a/b", { command = "init", directory = "a/b" })
  lu.assertEquals(read "init -- -x", { command = "init", directory = "-x" })
  refused("init a b", "too many arguments: 'b'")
  refused("init -f", "unknown option '-f'")
  refused("-q init", "'init' comes first")
end

function T.test_a_mistyped_command_is_not_taken_for_a_config()
  refused("chekc", "unknown command 'chekc' (did you mean 'check'?); a config of that name is ./chekc")
  refused("exce", "unknown command 'exce' (did you mean 'exec'?)")
  refused("statsu", "unknown command 'statsu'; a config of that name is ./statsu") -- never what comes later
  lu.assertEquals(read("./statsu").config, "./statsu")
  lu.assertEquals(read("run status").config, "status")
  refused("production", "unknown command 'production', and there is no config of that name")
end

function T.test_everything_after_the_script_belongs_to_the_script()
  lu.assertEquals(read "exec x.lua -h --version -- run", {
    command = "exec", script = "x.lua", args = { "-h", "--version", "--", "run" },
  })
  lu.assertEquals(read "exec -- -x.lua 1", { command = "exec", script = "-x.lua", args = { "1" } })
  refused("exec", "the script is missing")
  refused("exec --fast x.lua", "unknown option '--fast' before the script")
  refused("-q exec x.lua", "'exec' comes first")
end

function T.test_help_and_version_are_asked_for_in_every_usual_way()
  lu.assertEquals(read "--version", { command = "version" })
  lu.assertEquals(read "-q --version", { command = "version" })
  for line, topic in pairs {
    ["--help"] = "brood", ["-h"] = "brood", ["help"] = "brood", ["run --help"] = "run", ["run -h"] = "run",
    ["help run"] = "run", ["exec --help"] = "exec", ["exec -h"] = "exec", ["help exec"] = "exec",
    ["check --help"] = "check", ["check -h"] = "check", ["help check"] = "check", ["init --help"] = "init",
    ["init -h"] = "init", ["help init"] = "init", ["help config"] = "config", ["help help"] = "brood",
  } do
    lu.assertEquals(read(line), { command = "help", topic = topic }, line)
    lu.assertIsString(help.text(topic))
  end
  refused("help status", "command 'status' is not available yet")
  refused("help chek", "unknown command 'chek' (did you mean 'check'?)")
  refused("help run x", "too many arguments: 'x'")
end

function T.test_help_config_takes_a_key_or_a_part_of_one()
  lu.assertEquals(read "help config workers", { command = "help", topic = "config", key = "workers" })
  lu.assertEquals(read "help config listen.mode", { command = "help", topic = "config", key = "listen.mode" })
  refused("help config workrs", "unknown key 'workrs' (did you mean 'workers'?)")
  refused("help config bind", "unknown key 'bind' (did you mean 'listen'?)")
  refused("help config zzz", "unknown key 'zzz'")
end

function T.test_every_command_that_is_there_is_in_the_help()
  local text = help.text "brood"
  for name in ("run exec check init"):gmatch("%l+") do
    lu.assertStrContains(text, "\n  brood " .. (name == "run" and "[run]" or name) .. " ")
    lu.assertIsString(help.text(name))
  end
end

function T.test_the_help_lists_every_option_and_nothing_that_comes_later()
  local listed = "-c -s -l -p -w -D -P --control -q -v --log-level --log-format"
  for option in listed:gmatch("%S+") do
    lu.assertStrContains(help.text "run", "\n  " .. option .. " ")
    lu.assertStrContains(help.text "check", "\n  " .. option .. " ")
  end
  for _, topic in ipairs(help.topics) do
    local text = help.text(topic)
    lu.assertNil(text:match("brood status"), topic)
  end
end

function T.test_argparse_is_not_loaded_for_exec_or_a_plain_run()
  package.loaded.argparse = nil
  for _, line in ipairs { "", "run", "run x.lua", "x.lua", "exec x.lua -a -b", "--version" } do
    read(line)
    lu.assertNil(package.loaded.argparse, line)
  end
end

return T
