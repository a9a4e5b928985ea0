# WEBrick on the Unix socket that it finds in SOCKET: gives back what is sent to it.
require "socket"
require "webrick"

server = WEBrick::HTTPServer.new(
  DoNotListen: true, AccessLog: [], Logger: WEBrick::Log.new($stderr, WEBrick::Log::ERROR)
)

server.mount_proc("/") do |request, response|
  body = %w[POST PUT].include?(request.request_method) ? request.body.to_s : ""
  response.body = "echo, in Ruby: process #{Process.pid} was sent #{body.bytesize} bytes\n#{body}"
end

%w[QUIT TERM].each { |signal| trap(signal) { server.shutdown } } # finishes what it has begun

server.listeners << UNIXServer.new(ENV.fetch("SOCKET"))
server.start
