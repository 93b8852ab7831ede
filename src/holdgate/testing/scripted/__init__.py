"""Stand-ins for the far end of real clients, each in a module of the client's name, which imports that client.

    from holdgate.testing.scripted.httpx import AsyncScriptedTransport

    client = httpx.AsyncClient(transport=AsyncScriptedTransport(payments))

In an outage of the Dependency each call fails as it does with the real thing: refused, hung, dropped, or answered with an error. Otherwise
it gets what `answer` gives. Nothing here is imported by `holdgate.testing` itself.
"""
