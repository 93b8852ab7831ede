"""The pages as a site that needs no network: staged, built by zensical, and checked (`python -m docs.site`)."""
