"""OpenAI's images: generations, edits and variations on the image models' own bodies, and images in any request."""
