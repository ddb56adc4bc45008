"""A sample of the Olist data set, beside the project: real orders, for the tests that find it there."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "olist"
needs_olist = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no sample of Olist in {FOLDER}")
# Of its own description. Two of geolocation lie outside Brazil.
ROWS = {
    "orders": 8_135,
    "order_items": 8_365,
    "order_payments": 8_924,
    "order_reviews": 8_225,
    "customers": 8_135,
    "products": 5_460,
    "sellers": 1_610,
    "geolocation": 45_928,
    "product_category_name_translation": 71,
}
