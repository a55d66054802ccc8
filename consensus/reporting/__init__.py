"""The sections of the report: what each collects, its pictures and its template."""
