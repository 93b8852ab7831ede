#!/bin/sh
# RabbitMQ 4.3, default settings: a message that dies of its delivery limit is deleted by the first nack in its dead letter queue.
#
# Software: rabbitmq-server 4.3 (Debian forky; seen with 4.3.6), aio-pika 10.2.1. Needs root and debootstrap; 370 MB in a temporary folder.
# Source: "Quorum queues", https://www.rabbitmq.com/docs/quorum-queues: a nack with requeue does not raise the delivery count, and the limit,
# 20 unless set, is one of deliveries of "the queue". One expects twenty-one deliveries in the next queue too, and of nacks any number.
# Behaviour: dead-lettering from one quorum queue to another takes the count along. The message arrives with 21 of 20, and whatever returns
# it there, a nack as well, is its end: no error, not dead-lettered once more, gone. Up to 4.2 the next queue counts from nothing.
# A policy with delivery-limit -1 for the dead letter queue prevents it, also for letters that are in it already.
# Seen:
#   deliveries before it died: 21
#   in the dead letter queue: redelivered True, x-delivery-count 21
#   after one nack(requeue=True): None
set -eu
work=$(mktemp -d)
root=$work/root
trap 'kill -9 ${node:-} ${epmd:-} 2>/dev/null; rm -rf "$work"' EXIT INT TERM

mirror=${DEBIAN_MIRROR:-$(grep -hoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1)}
script=/usr/share/debootstrap/scripts/forky
[ -e $script ] || script=/usr/share/debootstrap/scripts/sid
unshare --mount --propagation private -- debootstrap --variant=minbase --include=rabbitmq-server forky "$root" \
    "${mirror:-http://deb.debian.org/debian}" $script >"$work/debootstrap.log" 2>&1 || { tail -5 "$work/debootstrap.log"; exit 1; }
echo "127.0.0.1 localhost" >"$root/etc/hosts"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet aio-pika==10.2.1

free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free) names=$(free) dist=$(free)
printf 'listeners.tcp.default = 127.0.0.1:%s\nlog.console = true\ndisk_free_limit.absolute = 1MB\n' "$port" >"$root/srv/rabbitmq.conf"
inside() {  # becomes the program, so that its process id is that of the job
    exec unshare --mount --propagation private -- sh -c 'mount -t proc proc "$0/proc" && root=$0 && exec chroot "$root" "$@"' "$root" \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/srv RABBITMQ_NODENAME="finding-$port@localhost" \
        RABBITMQ_CONFIG_FILE=/srv/rabbitmq.conf RABBITMQ_CONF_ENV_FILE=/srv/none RABBITMQ_ENABLED_PLUGINS_FILE=/srv/plugins \
        RABBITMQ_MNESIA_BASE=/srv/data RABBITMQ_LOGS=- RABBITMQ_DIST_PORT="$dist" ERL_EPMD_PORT="$names" ERL_EPMD_ADDRESS=127.0.0.1 \
        RUNNING_UNDER_SYSTEMD=true "$@"
}
inside epmd >/dev/null 2>&1 &
epmd=$!
inside /usr/lib/rabbitmq/bin/rabbitmq-server >"$work/server.log" 2>&1 &
node=$!

cat >"$work/finding.py" <<'PY'
import asyncio, sys, time

import aio_pika

QUORUM = {"x-queue-type": "quorum"}


async def connect(url, port):
    end = time.monotonic() + 180
    while True:
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            return await aio_pika.connect(url)
        except OSError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.5)


async def get(queue, within=5.0):
    end = time.monotonic() + within
    while (message := await queue.get(fail=False)) is None and time.monotonic() < end:
        await asyncio.sleep(0.1)
    return message


async def main(port):
    connection = await connect(f"amqp://guest:guest@127.0.0.1:{port}/", port)
    print("RabbitMQ", connection.transport.connection.server_properties["version"])
    channel = await connection.channel()
    dead = await channel.declare_queue("dead", durable=True, arguments=QUORUM)
    to_dead = {**QUORUM, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    orders = await channel.declare_queue("orders", durable=True, arguments=to_dead)
    await channel.default_exchange.publish(aio_pika.Message(b"order", delivery_mode=2), routing_key="orders")
    deliveries = 0
    while (message := await get(orders, within=2.0)) is not None:
        deliveries += 1
        await message.reject(requeue=True)
    print("deliveries before it died:", deliveries)
    letter = await get(dead)
    count = letter.headers.get("x-delivery-count")
    print(f"in the dead letter queue: redelivered {letter.redelivered}, x-delivery-count {count}")
    await letter.nack(requeue=True)
    again = await get(dead)
    print("after one nack(requeue=True):", again)
    await connection.close()
    sys.exit(0 if (deliveries, count, again) == (21, 21, None) else 1)


asyncio.run(main(int(sys.argv[1])))
PY
"$work/venv/bin/python" "$work/finding.py" "$port"
