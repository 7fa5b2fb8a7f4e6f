'use strict';
// The protocol has no password, and a port of 127.0.0.1 is open to every user of the machine: only our own user is answered.
const fs = require('fs');

const TABLE = '/proc/net/tcp';

/** Users by the port of their end of a connection to our port, in the kernel's table of connections. */
function owners(table, ourPort) {
  const other = `0100007F:${ourPort.toString(16).toUpperCase().padStart(4, '0')}`;
  const found = new Map();
  for (const line of table.split('\n')) {
    // sl, local_address, rem_address, st, tx_queue:rx_queue, tr:tm->when, retrnsmt, uid
    const [, local = '', remote, , , , , uid] = line.trim().split(/\s+/);
    if (remote === other && local.startsWith('0100007F:')) found.set(parseInt(local.slice(9), 16), Number(uid));
  }
  return found;
}

const checked = new WeakMap();
let waiting = [];

function check() {
  const sockets = waiting;
  waiting = [];
  let table;
  try {
    table = fs.readFileSync(TABLE, 'latin1');
  } catch {
    // No such table on this system.
    return sockets.forEach(({ tell }) => tell(true));
  }
  const users = owners(table, sockets[0].socket.localPort);
  return sockets.forEach(({ socket, tell }) => tell(users.get(socket.remotePort) === process.getuid()));
}

/** Whether our own user is at the other end; connections that come together share one look at the table. */
function isOurs(socket) {
  if (!checked.has(socket)) {
    checked.set(socket, new Promise((tell) => {
      if (waiting.push({ socket, tell }) === 1) setImmediate(check);
    }));
  }
  return checked.get(socket);
}

module.exports = { owners, isOurs };
