def write_page(folder):
    return folder, "no page yet"
