"""Reports: from verdicts and measurements to text, pages and pictures. Functions that return strings or figures.

- `facts`: what a report shows of one artifact, drawn from its measurement
- `content`: the report as blocks, the same for markdown and HTML
- `blocks`: headings, paragraphs, tables, pictures; text is escaped by the renderer that prints it
- `to_markdown`: blocks → GitHub markdown of at most 60,000 characters
- `page`: blocks → one self-contained HTML page
- `plots`: Pareto, limits, launches, as PNG or theme-aware SVG
- `tables`: CSV for `dvc plots`, JSON for `dvc metrics`
"""
