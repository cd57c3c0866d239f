// A bot in Node that obeys the guard, without packages: node node_bot.js PATH [SECONDS]
// Closing is always allowed, so it does not ask; only what opens does, right before the order.
"use strict";
const fs = require("node:fs");

// "" when trading is free. Written so that whatever is missing or makes no sense means locked.
function whyLocked(path, now = Date.now() / 1000) {
  let lock;
  try { lock = JSON.parse(fs.readFileSync(path, "utf8")); } catch { return "lock_unreadable"; }
  if (lock === null || lock.version !== 2) return "lock_version";
  const numbers = [lock.heartbeat_ts, lock.heartbeat_max_age_s, lock.expires_ts];
  if (!numbers.every(Number.isFinite) || !Array.isArray(lock.locks)) return "lock_unreadable";
  if (!(Math.abs(now - lock.heartbeat_ts) <= lock.heartbeat_max_age_s)) return "lock_stale";
  if (lock.locked === false && lock.locks.length === 0) return "";
  const isOver = (one) => Number.isFinite(one?.expires_ts) && one.expires_ts <= now;
  return [lock, ...lock.locks].every(isOver) && lock.locked === true ? "" : lock.reason || "locked";
}

function turn(path, order) {
  const reason = whyLocked(path);
  order.close(); // your exits
  if (reason) console.log(`opens nothing: ${reason}`); else order.open(); // your entries
}

module.exports = { whyLocked, turn };
if (require.main === module) {
  const [path, seconds = "5"] = process.argv.slice(2);
  const order = { close: () => {}, open: () => console.log("would open") };
  setInterval(() => turn(path, order), Number(seconds) * 1000);
}
