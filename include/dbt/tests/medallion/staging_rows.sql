-- Every table of silver staging that the run built; by hand and once a day every table.
{{ config(enabled=target.type == 'trino') }}
{{ all_broken_promises(tested_models('spark_job') if execute and flags.WHICH in ['build', 'test'] else [], staging_promises) }}
