-- Each minimum is one probe of the index on updated_at.
select
    now() as now,
    least(
        (select min(updated_at) from sales.customers),
        (select min(updated_at) from sales.sellers),
        (select min(updated_at) from sales.products),
        (select min(updated_at) from sales.product_category_name_translation),
        (select min(updated_at) from sales.geolocation),
        (select min(updated_at) from sales.orders),
        (select min(updated_at) from sales.order_items),
        (select min(updated_at) from sales.order_payments),
        (select min(updated_at) from sales.order_reviews)
    ) as oldest
