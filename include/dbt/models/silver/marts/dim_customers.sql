with customers as (
    select * from {{ ref('stg_customers') }}
),

affected as (
    select customer_unique_id from customers where {{ is_changed() }}
    union
    select customer_unique_id
    from {{ as_published(ref('stg_customers')) }} as published
    where customer_id in (select customer_id from customers where {{ is_changed() }})
    union
    {{ unpublished_keys(['customer_unique_id']) }}
),

ranked as (
    select
        *,
        min(_first_extracted_at) over (partition by customer_unique_id) as created_at,
        row_number() over (
            partition by customer_unique_id
            order by _changed_at desc, customer_id desc
        ) as from_latest
    from customers
    where
        _state = 'current'
        and customer_unique_id in (select customer_unique_id from affected)
),

rebuilt as (
    select
        customer_unique_id,
        customer_state,
        customer_city,
        customer_zip_code_prefix,
        created_at
    from ranked
    where from_latest = 1
),

final as (
    {{ with_deleted_keys('rebuilt', 'affected', ['customer_unique_id']) }}
)

select * from final
