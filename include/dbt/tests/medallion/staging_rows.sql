-- Tests the tables of silver staging that the run built. By hand and in the daily reconciliation it tests all.
{{ config(enabled=target.type == 'trino') }}
{{ all_broken_promises(tested_models('spark_job') if execute and flags.WHICH in ['build', 'test'] else [], staging_promises) }}
