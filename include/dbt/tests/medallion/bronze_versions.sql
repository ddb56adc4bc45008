-- Every changelog that the run captured for silver; by hand and once a day every changelog.
{{ config(enabled=target.type == 'trino') }}
{{ all_broken_promises(tested_models('changelog', 'stg_') if execute and flags.WHICH in ['build', 'test'] else [], changelog_promises) }}
