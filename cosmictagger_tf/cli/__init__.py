"""What commands share: flags made from config fields, errors as one line, help."""
