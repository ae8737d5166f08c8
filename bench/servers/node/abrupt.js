// No thought is given to SIGTERM: it ends the process at once, whatever it is doing.
const server = require("node:http").createServer((request, response) => {
  response.end(`${process.env.HOTPIPE_GENERATION ?? 0} ${process.pid}\n`);
});
server.listen({ fd: 3 });
