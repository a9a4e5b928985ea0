// An http server on the socket that brood passes to it, descriptor 3. Nothing but node is needed.
const fs = require('fs')
const http = require('http')
const net = require('net')

const release = fs.existsSync('RELEASE') ? fs.readFileSync('RELEASE', 'utf8').trim() : '1'
let stopping = false

const server = http.createServer((req, res) => {
  // Whoever keeps its connection is answered once more, and told to come back on another one.
  if (stopping) res.setHeader('Connection', 'close')
  const answer = () => res.end(`Hello from node, release ${release}, process ${process.pid}\n`)
  req.url === '/slow' ? setTimeout(answer, 2000) : answer()
})

server.listen({ fd: 3 }, () => {
  // From now on the process that this one replaces may go.
  if (process.env.BROOD_CHANNEL_FD) {
    fs.writeSync(Number(process.env.BROOD_CHANNEL_FD), '{"ready": true}\n')
  }
})

process.on('SIGTERM', () => {
  stopping = true
  // Accept no more, and end with the last connection. (server.close() of http would also cut idle connections, on one of
  // which a request may just be on its way.)
  net.Server.prototype.close.call(server)
  server.keepAliveTimeout = 2000
  setTimeout(() => process.exit(0), 9000).unref()
})
