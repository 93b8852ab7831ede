#!/bin/sh
# RabbitMQ: x-delivery-count is an ordinary header; a publisher's shows as the broker's, on 4.3 even on messages that were redelivered.
#
# Software: rabbitmq-server 4.3 (Debian forky; seen with 4.3.6), aio-pika 10.2.1. Needs root and debootstrap; 370 MB in a temporary folder.
# Source: "Quorum queues", https://www.rabbitmq.com/docs/quorum-queues: "The x-delivery-count header", the number of unsuccessful deliveries.
# One expects that the broker sets it, or takes it off, when it delivers.
# Behaviour: the broker counts from nothing, and delivers the publisher's header until it has a count of its own above 0 to write over it:
# at a first delivery on a quorum queue, after a nack on 4.3 (which is not counted there, though the message is redelivered), and for ever
# on a classic queue. Whoever puts dead letters back with all their headers does this without knowing.
# Seen:
#   quorum   published        redelivered False  x-delivery-count 21
#   quorum   after a nack     redelivered True   x-delivery-count 21
#   quorum   after a reject   redelivered True   x-delivery-count 1
#   classic  published        redelivered False  x-delivery-count 21
#   classic  after a nack     redelivered True   x-delivery-count 21
#   classic  after a reject   redelivered True   x-delivery-count 21
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
    seen = []
    for kind in ("quorum", "classic"):
        queue = await channel.declare_queue(kind, durable=True, arguments={"x-queue-type": kind})
        forged = aio_pika.Message(b"order", headers={"x-delivery-count": 21}, delivery_mode=2)
        await channel.default_exchange.publish(forged, routing_key=kind)
        for step in ("published", "after a nack", "after a reject"):
            message = await get(queue)
            seen.append(message.headers.get("x-delivery-count"))
            print(f"{kind:8} {step:16} redelivered {message.redelivered!s:6} x-delivery-count {seen[-1]}")
            await (message.nack if step == "published" else message.reject)(requeue=True)
    await connection.close()
    sys.exit(0 if seen == [21, 21, 1, 21, 21, 21] else 1)


asyncio.run(main(int(sys.argv[1])))
PY
"$work/venv/bin/python" "$work/finding.py" "$port"
