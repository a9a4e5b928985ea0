// The API: it says what time it is. It finds its port in PORT.
const http = require("http");

const server = http.createServer((request, response) => {
  console.log(`${request.method} ${request.url}`);
  response.end(JSON.stringify({ from: "node", now: new Date().toISOString() }));
});

server.listen(process.env.PORT, "127.0.0.1", () => console.log("listening"));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
