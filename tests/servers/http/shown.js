// The site of shown.py in node, and a page with trailers: node shown.js PORT
const http = require("node:http");
const zlib = require("node:zlib");

const large = Buffer.alloc(256 * 1200, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
const pages = {
  "/small": [200, {}, "hello\n"],
  "/large": [200, {}, large],
  "/none": [204, {}, ""],
  "/cached": [200, { ETag: '"v1"' }, "as before\n"],
  "/old": [302, { Location: "/small" }, "moved\n"],
  "/zipped": [200, { "Content-Encoding": "gzip" }, zlib.gzipSync("squeezed ".repeat(500))],
  "/twice": [200, { "Set-Cookie": ["a=1", "b=2"] }, "two of a kind\n"],
};

function show(request, answer, body) {
  if (request.url === "/chunked") {
    answer.write("one, ");
    answer.write("two, ");
    answer.end("three\n");
  } else if (request.url === "/trailers") {
    answer.writeHead(200, { Trailer: "X-Length, X-Asked", "Content-Type": "text/plain" });
    answer.write(body);
    answer.addTrailers({ "X-Length": String(body.length), "X-Asked": request.trailers["x-sum"] || "nothing" });
    answer.end();
  } else if (request.url === "/echo") {
    answer.writeHead(200, { "X-Got": request.headers["transfer-encoding"] || request.headers["content-length"] });
    answer.end(body);
  } else {
    let [status, headers, text] = pages[request.url] || [404, {}, "there is no such page\n"];
    if (headers.ETag && request.headers["if-none-match"]) [status, text] = [304, ""];
    if (status < 300) headers = { ...headers, ...(text.length ? { "Content-Length": text.length } : {}) };
    answer.writeHead(status, headers);
    answer.end(text);
  }
}

const server = http.createServer((request, answer) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => show(request, answer, Buffer.concat(pieces)));
});
server.keepAliveTimeout = 60000;
server.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
