// Told to stop, it finishes what it has: server.close() also closes idle connections (Node 19 and later).
const server = require("node:http").createServer((request, response) => {
  response.end(`${process.env.HOTPIPE_GENERATION ?? 0} ${process.pid}\n`);
});
server.listen({ fd: 3 });
process.on("SIGTERM", () => server.close(() => process.exit(0)));
