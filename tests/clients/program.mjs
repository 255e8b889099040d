// Client programs with known policies: node program.mjs KIND PORT WORKERS. See programs.py.
import http from "node:http";
import { setTimeout as pause } from "node:timers/promises";

const [kind, port, workers] = process.argv.slice(2);

const KINDS = {
  // fetch with a deadline of 0.45 s
  node_fetch: async (url) => {
    const answer = await fetch(url, { signal: AbortSignal.timeout(450), headers: { connection: "close" } });
    await answer.text();
  },
  // http with a time-out of 0.55 s of silence on the socket
  node_http: (url) =>
    new Promise((done, fail) => {
      const request = http.get(url, { timeout: 550, agent: false }, (answer) => {
        answer.resume();
        answer.on("end", done);
        answer.on("error", fail);
      });
      request.on("timeout", () => request.destroy(new Error("timeout")));
      request.on("error", fail);
    }),
};

async function work(worker) {
  for (let call = 0; ; call++) {
    await KINDS[kind](`http://127.0.0.1:${port}/small?${port}-${worker}-${call}`)
      .then(() => null, (failed) => failed.name)
      .then((error) => console.log(JSON.stringify({ port: Number(port), at: Date.now() / 1000, error })));
    await pause(50 + 100 * Math.random());
  }
}
for (let worker = 0; worker < Number(workers); worker++) work(worker);
process.stdin.resume().on("end", () => process.exit());
