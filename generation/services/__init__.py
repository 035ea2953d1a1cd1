"""The only place that changes rows: keyword-only functions <entity>_<action>, one file per noun."""
