// A durable consumer of one company's events: every event once, in order, whatever the broker does.
//
//   CAIRN_URL=http://127.0.0.1:8080 CAIRN_TOKEN=cairn_… NATS_URL=nats://… node examples/consumer.mjs inbox.jsonl [stop-at]
//
// Delivery is at least once and the broker may lose messages, so an inbox keyed by position decides:
// a position seen before is skipped, a hole is read from `GET /log?after=`, and when a new epoch
// begins (the log was restored to an earlier moment) what the log no longer holds is dropped first.

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const [path, stopAt = "0"] = process.argv.slice(2);
const token = process.env.CAIRN_TOKEN;
const company = token.split("_")[1].replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
const api = process.env.CAIRN_URL ?? "http://127.0.0.1:8080";

// The inbox: one line per change, read again at the next start. ids[position - 1] is what we have there.
const ids = [];
let epoch = 0n;

function remember(line) {
  if ("kept" in line) ids.length = line.kept;
  else ids[line.position - 1] = line.id;
  epoch = BigInt(line.epoch);
}

function write(line) {
  appendFileSync(path, JSON.stringify(line) + "\n");
  remember(line);
}

function put(event) {
  write({ position: event.position, epoch: event.epoch, id: event.id });
  console.log(`${String(event.position).padStart(6)}  ${event.type.padEnd(32)} ${event.subject}`);
}

// The log over HTTP: where holes are filled from.
async function logAfter(position, limit = 200) {
  const answer = await fetch(`${api}/log?after=${position}&limit=${limit}`, {
    headers: { Authorization: `Bearer ${token}` },
  });
  if (!answer.ok) throw new Error(`GET /log: ${answer.status} ${await answer.text()}`);
  return (await answer.json()).events;
}

// The last position at which the log holds the same event as the inbox, found by halving.
async function sharedWithLog() {
  let [low, high] = [0, ids.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    const [found] = await logAfter(middle - 1, 1);
    if (found?.id === ids[middle - 1]) low = middle;
    else high = middle - 1;
  }
  return low;
}

async function take(event) {
  if (BigInt(event.epoch) > epoch && epoch > 0n) {
    const shared = await sharedWithLog();
    console.log(`epoch ${event.epoch} began: kept 1 … ${shared} of ${ids.length}`);
    write({ kept: shared, epoch: event.epoch });
  }
  while (ids.length + 1 < event.position) {
    console.log(`hole: ${ids.length + 1} … ${event.position - 1} read from the log`);
    for (const missing of await logAfter(ids.length)) if (missing.position < event.position) put(missing);
  }
  if (event.position === ids.length + 1) put(event); // your own work belongs beside it
}

if (existsSync(path)) readFileSync(path, "utf8").split("\n").filter(Boolean).map(JSON.parse).forEach(remember);
const { username, password, host } = new URL(process.env.NATS_URL ?? "nats://127.0.0.1:4222");
const broker = await connect({ servers: host, user: decodeURIComponent(username), pass: decodeURIComponent(password) });
const durable = `example-node-${company.replaceAll("-", "")}`;
await (await jetstreamManager(broker)).consumers.add("CAIRN_EVENTS", {
  durable_name: durable,
  filter_subject: `cairn.${company}.event.>`,
  deliver_policy: DeliverPolicy.All,
  ack_policy: AckPolicy.Explicit,
});
const consumer = await jetstream(broker).consumers.get("CAIRN_EVENTS", durable);
const done = () => Number(stopAt) > 0 && ids.length >= Number(stopAt);
while (!done()) {
  for await (const message of await consumer.fetch({ max_messages: 50, expires: 1000 })) {
    await take(message.json());
    message.ack(); // only now: what was not acknowledged comes again
  }
}
await broker.drain();
