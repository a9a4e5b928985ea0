// The same in JavaScript.
const { Socket } = require('net');
const channel = new Socket({ fd: Number(process.env.BROOD_CHANNEL_FD) });
const say = (value, then) => channel.write(JSON.stringify(value) + '\n', then);

let total = 0;
require('readline').createInterface({ input: channel }).on('line', (line) => {
  total += JSON.parse(line).add;
  say({ total });
}).on('close', () => process.exit()); // the parent is gone

process.on('SIGTERM', () => {
  if (total !== 42) process.exit();
  say({ failed: { message: '42 is too good to be forgotten', code: 'EKEEP', count: total } }, () => process.exit(1));
});
say({ ready: true });
