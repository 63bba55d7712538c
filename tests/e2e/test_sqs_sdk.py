# SPDX-License-Identifier: Apache-2.0
"""The hub's queue as the real SDK sees it."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sqs_support import SdkTest  # noqa: E402


class Queue(SdkTest):
    def test_messages(self):
        self.passes("messages.cjs", 12)

    def test_queues(self):
        self.passes("queues.cjs", 13)


if __name__ == "__main__":
    unittest.main()
