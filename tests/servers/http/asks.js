// Asks what is written in JSON on stdin, one after the other on one agent, and tells what it saw: node asks.js PORT
const http = require("node:http");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function ask(one) {
  return new Promise((resolve, reject) => {
    const body = one.body === null ? null : Buffer.from(one.body, "base64");
    const headers = { ...one.headers };
    if (body !== null && !one.chunked) headers["Content-Length"] = body.length;
    const trailers = Object.entries(one.trailers || {});
    if (trailers.length) headers.Trailer = trailers.map(([name]) => name).join(", ");
    const options = { host: "127.0.0.1", port: Number(process.argv[2]), agent, method: one.method, path: one.path, headers };
    const request = http.request(options, (answer) => {
      const pieces = [];
      answer.on("data", (piece) => pieces.push(piece));
      answer.on("error", reject);
      answer.on("end", () => {
        const raw = answer.rawHeaders.concat(answer.rawTrailers.map((text) => `trailer ${text}`));
        const fields = [];
        for (let place = 0; place < raw.length; place += 2) fields.push([raw[place], raw[place + 1]]);
        resolve({ status: answer.statusCode, fields, body: Buffer.concat(pieces).toString("base64") });
      });
    });
    request.on("error", reject);
    if (body !== null) {
      const half = Math.floor(body.length / 2);
      request.write(body.subarray(0, half));
      request.write(body.subarray(half));
    }
    if (trailers.length) request.addTrailers(trailers);
    request.end();
  });
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const seen = [];
  for (const one of JSON.parse(Buffer.concat(chunks))) seen.push(await ask(one));
  process.stdout.write(JSON.stringify(seen));
  agent.destroy();
}
main();
