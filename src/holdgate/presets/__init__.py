"""Which exceptions of a client are its dependency's failures, a module for each kind of dependency.

`from holdgate.presets import sql`, then `Dependency("orders-db", failures=sql.failures)`. There are `sql`, `redis`, `grpc`, `aws`, `search`
(Elasticsearch, OpenSearch), `mongo`, `smtp`, and for a broker that one publishes to `amqp` and `kafka`; for HTTP `holdgate.http`, for plain
sockets `holdgate.network`. Some have `retry_after`, too.

They import no client: an exception is recognised by what it carries and by the names of its classes. Each judges one exception, and not
those that it was raised from. One rule holds for all. A failure is what every message meets while the dependency is in trouble, including
a login that is refused when connecting. What one message causes (a constraint, a syntax error, a conflict with another message) is its
own. docs/reference/failures.md lists the clients that they were tried with, and the results.
"""
