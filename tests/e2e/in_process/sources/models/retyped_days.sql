{{ config(materialized='ephemeral') }}
select day from {{ ref('retyped') }}
