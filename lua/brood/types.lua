---@meta _
--- What an editor cannot see in the sources: shapes that users write (configs, apps),
--- functions that the core provides, and the events of emitters. Never loaded; nothing in
--- it does anything. Everything else is annotated where it is written.

-- ---- values -------------------------------------------------------------------------------------------------------

---@alias brood.duration number|string seconds, or "250ms", "5s", "2m", "1h"
---@alias brood.size integer|string bytes, or "64k", "10m", "1g"
---@alias brood.mode string octal digits: "0666"
---@alias brood.signal string|integer "TERM", "SIGTERM" or 15

-- ---- the config file ----------------------------------------------------------------------------------------------

--- What ./brood.lua returns: this table, or a function(master) that returns it.
---@class brood.ConfigFile
---@field app? string the Lua file that each worker serves; without one there is no web cluster
---@field command? string[] in place of app: a program in any language on the same sockets (LISTEN_FDS from fd 3)
---@field ready? "spawn"|"notify"|"line"|"channel"|{port?: integer, host?: string, socket?: string, http?: string} when
--- a command's worker counts as ready ("spawn")
---@field stop_signal? brood.signal that tells a command's worker to finish and go ("TERM")
---@field watchdog? brood.duration|false with ready = "notify": how often a command's worker must send WATCHDOG=1
---@field listen? brood.ListenAddress|brood.ListenAddress[] where to accept connections (127.0.0.1:8080)
---@field workers? integer how many processes serve (one per cpu)
---@field timeout? brood.duration|false a worker whose event loop has not turned for so long is killed (60)
---@field preload? boolean load the app in the master before forking, so that workers share its memory (false)
---@field daemonize? boolean run in the background; the command returns once the daemon serves (false)
---@field working_directory? string of master and workers (the folder of the config)
---@field user? string|integer that workers become for good
---@field group? string|integer that workers become for good
---@field umask? brood.mode of the workers
---@field limits? table<string, brood.Limit> of the workers, e.g. {nofile = 65536}
---@field env? table<string, string|number|false> added to the master's; false removes a variable
---@field graceful_timeout? brood.duration|false how long a worker may finish its requests (30)
---@field start_timeout? brood.duration|false a worker must be ready within it (30)
---@field max_requests? integer|false a worker is replaced after so many
---@field max_requests_jitter? integer|false up to so many more, by chance
---@field max_memory? brood.size|false a worker whose share of the memory (PSS) is beyond it is replaced
---@field max_lifetime? brood.duration|false a worker is replaced after so long
---@field rollout? {surge?: integer, pause?: brood.duration} how a reload replaces workers ({surge = 1, pause = 0})
---@field master_nice? integer from -20 to 0: the niceness of the master alone; default: -10 where it may
---@field pidfile? string where the master writes its pid while it runs
---@field stdout_path? string the file that stdout goes to
---@field stderr_path? string the file that stderr and the log go to
---@field access_log? string|brood.AccessLine|false a line for each request: a path, "-" for stdout, or who makes it
---@field clusters? table<string, brood.ClusterConfig> further groups of workers by name; the top-level one is named web
---@field pools? table<string, brood.PoolOptions> job pools by name: what `Pool.new` takes
---@field services? table<string, brood.ServiceOptions> supervised programs by name
---@field backends? table<string, brood.BackendOptions> programs by name that run while they are used
---@field proxy? brood.ProxyOptions an HTTP proxy in front of services, backends and clusters
---@field control? string|{address: string}|false the control server's Unix socket; false: none
---@field signals? table<string, brood.SignalAction> what signals do, where it is not the usual
---@field on_start? fun(master: brood.Master, why: string) in the master before its first fork; raising fails the start
---@field before_exec? fun(master: brood.Master) in the master, before an upgrade; raising cancels it
---@field before_fork? fun(master: brood.Master, worker: brood.ClusterWorker) in the master; raising cancels that fork
---@field after_fork? fun(master: brood.Master, worker: brood.ClusterWorker) in the new worker, before its app is loaded
---@field worker_ready? fun(master: brood.Master, worker: brood.ClusterWorker) in the master
---@field worker_exit? brood.WorkerExitHook in the master
---@field on_stop? fun(master: brood.Master) in the master, after the last worker; at most graceful_timeout

--- One of `clusters`: `app` and `listen` are its own; what else it lacks it takes from the top level.
---@class brood.ClusterConfig: brood.ConfigFile

---@alias brood.Limit brood.size|"unlimited"|{soft: brood.size|"unlimited", hard: brood.size|"unlimited"}

---@alias brood.SignalAction
---| "reload"|"quit"|"terminate"|"scale_up"|"scale_down"|"drain"|"reopen"|"upgrade"
---| fun(master: brood.Master)
---| false nothing

---@alias brood.WorkerExitHook
---| fun(master: brood.Master, worker: brood.ClusterWorker, code: integer?, signal: string?)

--- A port, "host:port", "[v6]:port", "unix:/path", "fd:NAME" (a socket that was passed), or a table.
---@alias brood.ListenAddress string|integer|brood.ListenTable

---@class brood.ListenTable
---@field address string|integer
---@field backlog? integer how many connections may wait to be accepted (1024)
---@field reuseport? boolean a socket of its own for each worker (false)
---@field ipv6only? boolean (false)
---@field mode? brood.mode of a Unix socket
---@field owner? string|integer of a Unix socket
---@field group? string|integer of a Unix socket

-- ---- the app file -------------------------------------------------------------------------------------------------

---@alias brood.Handler fun(req: brood.Request, res: brood.Response)
---@alias brood.StartStop fun(worker: brood.Worker, done?: fun(err: any?))

--- What an app file returns: a handler, a server, or this table.
---@class brood.App
---@field server brood.Handler|brood.http.Server|brood.net.Server
---@field start? brood.StartStop before it serves; with a second parameter it is over when that is called
---@field stop? brood.StartStop after its last request

-- ---- require "brood" ----------------------------------------------------------------------------------------------

---@class brood
---@field async fun(fn: function, ...: any): brood.Task run fn(...) in a task of its own
---@field sleep async fun(seconds: brood.duration, cb?: fun()): true? suspend the task for so long
---@field now fun(): number monotonic seconds, with fractions
---@field log brood.log
---@field json brood.json
---@field posix brood.posix
---@field http brood.http
---@field net brood.net
---@field pool brood.PoolModule
---@field service fun(name: string): table a service of the config

--- Called itself it gives a pool of the config, in the master and in every process that it has started.
---@class brood.PoolModule
---@field new fun(options: brood.PoolOptions): brood.Pool
---@overload fun(name: string): brood.NamedPool

---@class brood.json
---@field null userdata JSON's null
---@field encode fun(value: any): string?, brood.Error?
---@field decode fun(text: string): any, brood.Error?

--- Values are joined by tabs, as `print` joins them. Called itself it is `info`.
---@class brood.log
---@field debug fun(...: any)
---@field info fun(...: any)
---@field warn fun(...: any)
---@field error fun(...: any)
---@overload fun(...: any)

---@class brood.http
---@field server fun(handler: brood.Handler, options?: brood.http.Options): brood.http.Server
---@field request async fun(request: brood.http.Given, cb?: function): brood.http.Answer?, brood.Error?
---@field get async fun(url: string, options?: brood.http.Given, cb?: function): brood.http.Answer?, brood.Error?

---@class brood.net
---@field server fun(handler: fun(conn: brood.Conn), options?: brood.net.Options): brood.net.Server
---@field connect async fun(address: string|integer, options?: table, cb?: function): brood.Conn?, brood.Error?

-- ---- require "brood.posix" ----------------------------------------------------------------------------------------
-- Failures are nil, an error and its errno. Descriptors are the caller's: blocking, and kept across a fork.

---@class brood.posix
---@field execve fun(path: string, argv: string[], env?: table<string, string>|string[]): nil, brood.Error, integer
---@field pipe fun(): integer?, integer|brood.Error, integer? the reading end, the writing end
---@field socketpair fun(): integer?, integer|brood.Error, integer?
---@field read fun(fd: integer, n?: integer): string?, brood.Error?, integer? "" at the end of the file
---@field write fun(fd: integer, data: string): integer?, brood.Error?, integer? how much of it was written
---@field dup2 fun(from: integer, to: integer): integer?, brood.Error?, integer?
---@field close fun(fd: integer): boolean?, brood.Error?, integer?
---@field kill fun(pid: integer, signal: brood.signal): boolean?, brood.Error?, integer?
---@field waitpid fun(pid?: integer, options?: integer|string|table): integer?, brood.WaitWord|brood.Error, integer
---@field setsid fun(): integer?, brood.Error?, integer?
---@field umask fun(mode?: brood.mode): brood.mode the former one
---@field chdir fun(path: string): boolean?, brood.Error?, integer?
---@field getpid fun(): integer
---@field getppid fun(): integer
---@field getuid fun(): integer
---@field getgid fun(): integer
---@field setuid fun(uid: integer): boolean?, brood.Error?, integer?
---@field setgid fun(gid: integer): boolean?, brood.Error?, integer?
---@field initgroups fun(user: string, gid: integer): boolean?, brood.Error?, integer?
---@field setgroups fun(gids: integer[]): boolean?, brood.Error?, integer?
---@field getpwnam fun(user: string|integer): brood.PasswordEntry?, brood.Error?, integer?
---@field getgrnam fun(group: string|integer): {name: string, gid: integer}?, brood.Error?, integer?
---@field environ fun(): table<string, string>
---@field setproctitle fun(title: string)

---@alias brood.WaitWord "exited"|"killed"|"stopped"|"continued"|"running"

---@class brood.PasswordEntry
---@field name string
---@field uid integer
---@field gid integer
---@field dir string
---@field shell string

-- ---- events -------------------------------------------------------------------------------------------------------
-- `once` takes the same, and "*" gets every event with its name first.

---@class brood.Process
---@field on fun(self, event: "state", fn: fun(new: brood.ProcessState, old: brood.ProcessState)): brood.Process
---@field on fun(self, event: brood.ProcessState, fn: fun()): brood.Process
---@field on fun(self, event: "exit", fn: fun(code: integer?, signal: string?)): brood.Process
---@field on fun(self, event: "message", fn: fun(value: any, fd: integer?)): brood.Process
---@field on fun(self, event: "error", fn: fun(err: brood.Error)): brood.Process

---@class brood.Child
---@field on fun(self, event: "status", fn: fun(state: brood.ProcessState)): brood.Child
---@field on fun(self, event: "exit", fn: fun(code: integer?, signal: string?)): brood.Child
---@field on fun(self, event: "respawn", fn: fun(pid: integer)): brood.Child the next one is ready
---@field on fun(self, event: "message", fn: fun(value: any, fd: integer?)): brood.Child
---@field on fun(self, event: "error", fn: fun(err: brood.Error)): brood.Child
---@field on fun(self, event: "drain", fn: fun()): brood.Child

---@class brood.Cluster
---@field on fun(self, event: "online", fn: fun(worker: brood.ClusterWorker)): brood.Cluster
---@field on fun(self, event: "exit", fn: brood.WorkerExitEvent): brood.Cluster
---@field on fun(self, event: "respawn", fn: brood.WorkerExitEvent): brood.Cluster the new one; how the former one ended
---@field on fun(self, event: "recycle", fn: fun(worker: brood.ClusterWorker, requests: integer?)): brood.Cluster
---@field on fun(self, event: "message", fn: fun(w: brood.ClusterWorker, value: any, fd: integer?)): brood.Cluster
---@field on fun(self, event: "error", fn: fun(err: brood.Error, worker: brood.ClusterWorker)): brood.Cluster
---@field on fun(self, event: "started"|"stopping"|"stopped", fn: fun()): brood.Cluster

---@class brood.Lifecycle
---@field on fun(self, event: "add"|"remove"|"start"|"stop", fn: fun(item: brood.LifecycleItem)): brood.Lifecycle
---@field on fun(self, event: "online"|"offline", fn: fun()): brood.Lifecycle

---@class brood.Worker
---@field on fun(self, event: "message", fn: fun(value: any, fd: integer?)): brood.Worker
---@field on fun(self, event: "exit", fn: fun(code: integer?, signal: string?)): brood.Worker
---@field on fun(self, event: "disconnect", fn: fun(err: brood.Error?): boolean?): brood.Worker
---@field on fun(self, event: "drain"|"stopping", fn: fun()): brood.Worker

---@class brood.Master
---@field on fun(self, event: "message", fn: fun(worker: brood.ClusterWorker, value: any, fd: integer?)): brood.Master
---@field on fun(self, event: "online", fn: fun(worker: brood.ClusterWorker)): brood.Master
---@field on fun(self, event: "exit", fn: brood.WorkerExitEvent): brood.Master
---@field on fun(self, event: "ready"|"reloading"|"stopping"|"stopped", fn: fun()): brood.Master
---@field on fun(self, event: "reloaded", fn: fun(err: brood.Error?)): brood.Master
---@field on fun(self, event: "error", fn: fun(err: brood.Error, worker: brood.ClusterWorker)): brood.Master

---@alias brood.WorkerExitEvent fun(worker: brood.ClusterWorker, code: integer?, signal: string?)

---@class brood.ClusterWorker
---@field send fun(self, value: any, fd?: integer): boolean?, brood.Error?
---@field kill fun(self, signal?: brood.signal): true?, brood.Error?
---@field user fun(self, name: string|integer, group?: string|integer) in after_fork: become it now, for good
