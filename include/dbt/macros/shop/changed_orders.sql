{#- Orders that changed since the last publication, or of which an item or a payment changed. -#}
{% macro changed_orders() -%}
    select order_id from {{ ref('stg_orders') }} where {{ is_changed() }}
    union
    select order_id from {{ ref('stg_order_items') }} where {{ is_changed() }}
    union
    select order_id from {{ ref('stg_order_payments') }} where {{ is_changed() }}
{%- endmacro %}
