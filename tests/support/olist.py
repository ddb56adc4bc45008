"""A sample of the Olist data set: real orders, for the tests that can use them.

Its nine CSV files are in the folder that the environment variable OLIST names, or in `../shared/olist`, beside the
project.
"""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("OLIST") or Path(__file__).parents[3] / "shared" / "olist")
needs_olist = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} has no sample of Olist: set OLIST")
# Rows of each file, by the sample's own description. Two rows of geolocation are outside Brazil.
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
