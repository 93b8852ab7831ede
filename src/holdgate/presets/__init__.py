"""Which exceptions of a client are its dependency's failures, a module for each kind of dependency.

`from holdgate.presets import sql`, then `Dependency("orders-db", failures=sql.failures)`. There are `sql`, `redis`, `grpc`, `aws`, `search`
(Elasticsearch, OpenSearch), `mongo`, `smtp`, and for a broker that one publishes to `amqp` and `kafka`; for HTTP `holdgate.http`, for plain
sockets `holdgate.network`. Some have `retry_after`, too.

None imports a client: an exception is read by what it carries and by the names of its classes. Each judges one exception and not those that
it was raised from. One rule for all: a failure is what every message meets for as long as the dependency is in trouble, including a login
that is refused when connecting; what one message brings about (a constraint, a syntax error, a conflict with another one) is its own. Which
clients they were tried with, and what came out: docs/reference/failures.md.
"""
