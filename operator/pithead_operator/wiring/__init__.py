"""Wiring: what must be done inside the hub's private network, as Jobs, and what they told.

Builds the Jobs (named by the hash of their content), reads their results, and
mints the Secrets that the hub's services share. Only computes: the clock and
the source of keys and passwords are arguments, and the caller applies.

    jobs      databases_job, topics_job, wallet_jobs, schemes_job -> WireJob
    results   read_job -> JobState; scripts_of, slots_of
    facts     facts_object, read_facts: results kept in a ConfigMap
    minting   pithead-ca, pithead-tls, pithead-roles
"""
