// An HTTP server of node on the Unix socket that it finds in SOCKET. What it counts lasts as long as the process does.
const http = require('http')

let visits = 0

const server = http.createServer((req, res) => {
  visits++
  res.end(`counter, in JavaScript: process ${process.pid} has counted ${visits}\n`)
})

server.listen(process.env.SOCKET)

// Told to quit, it finishes what it has begun.
process.on('SIGQUIT', () => server.close(() => process.exit(0)))
