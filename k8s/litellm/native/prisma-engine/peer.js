'use strict';
// The protocol has no password, and a port of 127.0.0.1 is open to every user of the machine: only our own user may connect.
const fs = require('fs');

const TABLE = '/proc/net/tcp';
const hexPort = (port) => port.toString(16).toUpperCase().padStart(4, '0');

/** The user that owns the other end of a loopback connection, by the kernel's table; undefined where there is no such table. */
function ownerOf(table, remotePort, localPort) {
  const pair = new RegExp(`^ *\\d+: 0100007F:${hexPort(remotePort)} 0100007F:${hexPort(localPort)} \\w+ \\S+ \\S+ \\w+ +(\\d+)`, 'm');
  const line = table.match(pair);
  return line ? Number(line[1]) : undefined;
}

function mayConnect(socket) {
  let table;
  try {
    table = fs.readFileSync(TABLE, 'latin1');
  } catch {
    return true;
  }
  return ownerOf(table, socket.remotePort, socket.localPort) === process.getuid();
}

module.exports = { ownerOf, mayConnect };
